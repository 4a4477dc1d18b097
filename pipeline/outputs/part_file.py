"""One split's output: rows in a Parquet file that nobody can see until it is published, its rejects beside it.

Rows are gathered into row groups of a fixed number of rows, so that the bytes depend on the rows alone. Knows
nothing of models.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...schemas.run import Receipt
from ..errors import ScorelineError
from ..row_bytes import batch_bytes
from .assemble import reject_schema
from .naming import rejects_name
from .receipt import file_digest, footer_metadata, sealed
from .store import Store, storage_error

#: What a row group holds: so many rows, or fewer where images or long texts are carried through.
ROW_GROUP_ROWS, ROW_GROUP_BYTES = 1 << 17, 128 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What became visible: the part's digest, the checksum of the receipt in it, and the bytes of both files."""

    sha256: str
    receipt: str
    num_bytes: int


class PartFile:
    """A part being written under `name`, and its rejects. `publish` makes both visible, rejects first; `discard`
    neither."""

    def __init__(self, store: Store, *, name: str, schema: pa.Schema, read: pa.Schema) -> None:
        self._store, self._name, self._rejects = store, name, rejects_name(name)
        self._read = read
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._num_waiting = self._waiting_bytes = 0
        self._reject_writer: Any = None
        self._reject_path = Path()
        self.num_rows = 0
        self.num_rejects = 0
        self._path = store.temporary(name)
        self._writer = _guarded(self._path, _open_parquet, self._path, schema)

    def write(self, rows: pa.RecordBatch, rejects: pa.RecordBatch) -> None:
        """Add rows and rejects, in order. Raises StorageError where the disk is full or fails."""
        self.num_rows += rows.num_rows
        self._waiting.append(rows)
        self._num_waiting += rows.num_rows
        self._waiting_bytes += batch_bytes(rows)
        if self._num_waiting >= ROW_GROUP_ROWS:
            self._flush(self._num_waiting - self._num_waiting % ROW_GROUP_ROWS)
        elif self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush(self._num_waiting)
        if rejects.num_rows:
            self._write_rejects(rejects)

    def publish(self, target: str, receipt: Receipt) -> Published:
        """Finish both files and make them visible, rejects first: they count only once a receipt names them.

        Args:
            target: the part's final name, known when it is known how many splits there are.
            receipt: complete but for the digest of the rejects, which is known only now.

        Raises:
            StorageError: the disk is full or failed; what was published before still stands.
        """
        self._flush(self._num_waiting)
        size = 0
        if self._reject_writer is not None:
            path = self._reject_path
            _guarded(path, self._reject_writer.close)
            receipt = receipt.model_copy(update={"rejects": _guarded(path, file_digest, path)})
        receipt = sealed(receipt)
        _guarded(self._path, self._writer.add_key_value_metadata, footer_metadata(receipt))
        _guarded(self._path, self._writer.close)
        digest = _guarded(self._path, file_digest, self._path)
        if self._reject_writer is not None:
            size += self._store.publish(self._rejects, rejects_name(target))
        size += self._store.publish(self._name, target)
        if self._reject_writer is None:
            self._store.remove(rejects_name(target))  # of an earlier run over the same part
        assert receipt.checksum is not None, "it is sealed"
        return Published(sha256=digest, receipt=receipt.checksum, num_bytes=size)

    def discard(self) -> None:
        """Leave nothing behind."""
        for writer in (self._writer, self._reject_writer):
            if writer is not None:
                _quietly_close(writer)
        self._store.discard(self._name)
        if self._reject_writer is not None:
            self._store.discard(self._rejects)

    def _flush(self, rows: int) -> None:
        if not rows:
            return
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        _guarded(self._path, self._writer.write_table, table.slice(0, rows), ROW_GROUP_ROWS)
        self._waiting = table.slice(rows).to_batches()
        self._num_waiting -= rows
        self._waiting_bytes = sum(map(batch_bytes, self._waiting))

    def _write_rejects(self, rejects: pa.RecordBatch) -> None:
        if self._reject_writer is None:
            self._reject_path = self._store.temporary(self._rejects)
            schema = reject_schema(self._read)
            self._reject_writer = _guarded(self._reject_path, pa.ipc.new_file, str(self._reject_path), schema)
        _guarded(self._reject_path, self._reject_writer.write_batch, rejects)
        self.num_rejects += rejects.num_rows


def _open_parquet(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Dictionaries only where values repeat: they cost three times the speed on float columns (measured). No minima and
    maxima of float columns: a third of the encoding, and no reader finds a row by its probability."""
    repeating = [
        field.name
        for field in schema
        if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
        and not pa.types.is_nested(field.type)
    ]
    return pq.ParquetWriter(
        str(path),
        schema,
        use_dictionary=repeating,
        write_statistics=[field.name for field in schema if not pa.types.is_floating(field.type)],
        write_page_checksum=True,
        compression="snappy",
    )


def _guarded(path: Path, call: Any, *args: Any) -> Any:
    try:
        return call(*args)
    except ScorelineError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def _quietly_close(writer: Any) -> None:
    """The temporary is removed next; what closing it says no longer matters."""
    try:
        writer.close()
    except (OSError, pa.ArrowException):
        return
