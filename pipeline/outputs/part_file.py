"""The output of one split: a Parquet file that is hidden until it is published, and a file of its rejects.

Row groups have a fixed number of rows, so that the bytes of the file depend on the rows alone. Independent of models.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...schemas.run import ProfileLocation, Receipt
from ..digests import sha256
from ..errors import ScorelineError
from ..row_bytes import batch_bytes
from ..same import Same
from .assemble import reject_schema
from .naming import rejects_name
from .part_records import PartVersion
from .receipt import file_digest, footer_metadata, part_version, with_checksum
from .store import Store, Stored, storage_error

#: The most rows and bytes of a row group; bytes limit it where images or long texts are carried through.
ROW_GROUP_ROWS, ROW_GROUP_BYTES = 1 << 17, 128 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """The digest of a published part, the checksum of its receipt, and the size of both files in bytes. `version`: for
    the next run."""

    sha256: str
    receipt: str
    num_bytes: int
    version: PartVersion | None = None


class PartFile:
    """A part that is being written under `name`, and its rejects. `finish` completes both files, then `publish` makes
    them visible; `discard` removes them."""

    def __init__(self, store: Store, *, name: str, schema: pa.Schema, read: pa.Schema) -> None:
        self._store, self._rejects = store, rejects_name(name)
        self._read = read
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._num_pending = self._pending_bytes = 0
        self._reject_writer: Any = None
        self._reject_path: Path | None = None
        self._receipt: Receipt | None = None
        self.num_rows = 0
        self.num_rejects = 0
        self._path = store.temporary(name)
        self._sink: pa.NativeFile = _guarded(self._path, pa.OSFile, str(self._path), "wb")
        self._writer = _guarded(self._path, _open_parquet, self._sink, schema)

    def write(self, rows: pa.RecordBatch, rejects: pa.RecordBatch) -> None:
        """Append rows and rejects. Raises StorageError where the disk is full or fails."""
        self.num_rows += rows.num_rows
        self._pending.append(rows)
        self._num_pending += rows.num_rows
        self._pending_bytes += batch_bytes(rows)
        if self._num_pending >= ROW_GROUP_ROWS:
            self._flush(self._num_pending - self._num_pending % ROW_GROUP_ROWS)
        elif self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush(self._num_pending)
        if rejects.num_rows:
            self._write_rejects(rejects)

    def finish(self, receipt: Receipt, profile: bytes | None = None) -> None:
        """Write the remaining rows, the profile and the footer. No rows can be written afterwards.

        Args:
            receipt: complete except for the digest of the rejects and the location of the profile, which are added
                here.
            profile: written between the last row group and the footer. Readers of Parquet ignore it, and it does not
                make the footer longer, which every later run reads.

        Raises:
            StorageError: the disk is full or failed.
        """
        self._flush(self._num_pending)
        if (path := self._reject_path) is not None:
            _guarded(path, self._reject_writer.close)
            self._reject_writer = None  # closing it again would write a second footer
            receipt = receipt.model_copy(update={"rejects": _guarded(path, file_digest, path)})
        if profile is not None:
            location = _guarded(self._path, _append, self._sink, profile)
            receipt = receipt.model_copy(update={"profile": location})
        self._receipt = receipt = with_checksum(receipt)
        _guarded(self._path, self._writer.add_key_value_metadata, footer_metadata(receipt))
        _guarded(self._path, self._writer.close)
        _guarded(self._path, self._sink.close)

    def publish(self, target: str) -> Published:
        """Make both finished files visible, rejects first: they are valid only once a receipt names them. May run in
        another thread than `finish`.

        Args:
            target: the final name of the part, which depends on the number of splits.

        Raises:
            StorageError: the disk is full or failed; parts published earlier are unchanged.
        """
        receipt = self._receipt
        assert receipt is not None, "finish comes first"
        assert receipt.checksum is not None, "it was finished with one"
        digest, rejects = _guarded(self._path, file_digest, self._path), Stored(0)
        if self._reject_path is not None:
            rejects = self._store.publish(self._reject_path, rejects_name(target), receipt.rejects)
        part = self._store.publish(self._path, target, digest)
        if self._reject_path is None:
            self._store.remove(rejects_name(target))  # of an earlier run for the same part
        return Published(
            sha256=digest,
            receipt=receipt.checksum,
            num_bytes=rejects.size + part.size,
            version=part_version(receipt, part.etag, rejects.etag),
        )

    def discard(self) -> None:
        """Remove both temporary files."""
        for writer in (self._writer, self._sink, self._reject_writer):
            if writer is not None:
                _quietly_close(writer)
        self._store.discard(self._path)
        if self._reject_path is not None:
            self._store.discard(self._reject_path)

    def _flush(self, rows: int) -> None:
        if not rows:
            return
        table = pa.Table.from_batches(self._pending, schema=self._schema)
        _guarded(self._path, self._writer.write_table, table.slice(0, rows), ROW_GROUP_ROWS)
        self._pending = table.slice(rows).to_batches()
        self._num_pending -= rows
        self._pending_bytes = sum(map(batch_bytes, self._pending))

    def _write_rejects(self, rejects: pa.RecordBatch) -> None:
        if (path := self._reject_path) is None:
            path = self._reject_path = self._store.temporary(self._rejects)
            self._reject_writer = _guarded(path, pa.ipc.new_file, str(path), reject_schema(self._read))
        _guarded(path, self._reject_writer.write_batch, rejects)
        self.num_rejects += rejects.num_rows


def _append(sink: pa.NativeFile, data: bytes) -> ProfileLocation:
    """Write bytes at the end of a file, and return where they are."""
    offset = sink.tell()
    sink.write(data)
    return ProfileLocation(offset=offset, length=len(data), sha256=sha256(data))


def _open_parquet(sink: pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a writer with page checksums."""
    repeating, exact = _columns_by_kind(Same(schema))
    return pq.ParquetWriter(
        sink,
        schema,
        use_dictionary=repeating,
        write_statistics=exact,
        write_page_checksum=True,
        compression="snappy",
    )


@lru_cache(maxsize=64)
def _columns_by_kind(schema: Same[pa.Schema]) -> tuple[list[str], list[str]]:
    """The columns whose values tend to repeat, which have dictionaries: on float columns they make writing three times
    slower (measured). And those that have statistics: those of float columns would take a third of the encoding time,
    and are rarely used in filters."""
    repeating = [
        field.name
        for field in schema.value
        if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
        and not pa.types.is_nested(field.type)
    ]
    return repeating, [field.name for field in schema.value if not pa.types.is_floating(field.type)]


def _guarded(path: Path, call: Any, *args: Any) -> Any:
    try:
        return call(*args)
    except ScorelineError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def _quietly_close(writer: Any) -> None:
    """Close a writer and ignore errors, since its temporary file is removed next."""
    try:
        writer.close()
    except (OSError, pa.ArrowException):
        return
