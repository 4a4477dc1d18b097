"""What became of every input: its parts and their rows, as `_scoreline/parts.pq` records it. Does not import torch.

The file is Parquet, so that any tool can query it. Its name does not end in `.parquet`, since globs would take it for
predictions. One row for each part, in the order of inputs and splits;
an input without a part has a row of its own, with its error; an orphaned part has a row without an input.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..arrays import batch_of
from ..errors import DataError
from .naming import rejects_name
from .store import WEAK

#: Rows that are encoded or decoded at a time.
ROWS = 1 << 16
_DIGEST = "sha256:"
_COUNTS = ["rows_in", "rows_scored", "rows_rejected", "out_of_bounds", "above_threshold"]
_PARTS = pa.schema([
    ("source", pa.string()),
    ("path", pa.string()),
    ("format", pa.string()),
    ("error", pa.string()),
    ("target", pa.string()),
    ("split", pa.int32()),
    ("last", pa.bool_()),
    ("kept", pa.bool_()),
    ("sha256", pa.binary(32)),
    ("receipt", pa.binary(32)),
    *((name, pa.int64()) for name in _COUNTS),
])  # fmt: skip
#: The columns of the versions of parts come after these.
_WITH_VERSIONS = pa.schema([
    *_PARTS,
    ("etag", pa.string()),
    ("rejects_etag", pa.string()),
    ("identity", pa.binary(32)),
    ("made_with", pa.string()),
])  # fmt: skip
#: Columns whose values repeat, and columns of names, of which each begins like the one before.
_REPEATED, _NAMES = ["format", "error", "made_with"], ["source", "path", "target"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartVersion:
    """The files of a part as they were published, so that the next run need not read them: as long as both have their
    ETags (`Store.etag`), the part is what it was. `identity`: the digest of the fingerprint and the root in its receipt
    (`receipt.identity`); `made_with`: those of the receipt, as JSON."""

    etag: str
    rejects_etag: str | None
    identity: str
    made_with: str

    @property
    def is_weak(self) -> bool:
        """Whether an equal ETag of either file is no evidence."""
        return self.etag.startswith(WEAK) or (self.rejects_etag or "").startswith(WEAK)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRecord:
    """One part file: a split of an input. `kept`: whether it was made by an earlier run. `receipt`: the checksum of the
    receipt in the file with the digest `sha256`, so that the digest is not applied to another part of the same name.
    `out_of_bounds`, `above_threshold`: how many of the scored rows are. `version`: None where the storage gives no
    ETag."""

    target: str
    split: int
    last: bool
    kept: bool = False
    sha256: str
    receipt: str
    rows_in: int
    rows_scored: int
    rows_rejected: int
    out_of_bounds: int = 0
    above_threshold: int = 0
    version: PartVersion | None = None

    @property
    def content(self) -> tuple[str, str, str]:
        """What identifies the part with its bytes: its counts are in the receipt."""
        return self.target, self.sha256, self.receipt

    @property
    def rejects(self) -> str | None:
        """The file of its rejects, if it has any."""
        return rejects_name(self.target) if self.rows_rejected else None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionRecord:
    """One input file and its parts, by split. `error` is set if it could not be read to its end; the parts before that
    are kept."""

    source: str
    path: str
    format: str
    parts: Sequence[PartRecord] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputRecord:
    """The content of `parts.pq`: every input, by name, and parts of earlier runs whose input is not among them."""

    partitions: Sequence[PartitionRecord] = ()
    orphaned_parts: Sequence[str] = ()

    def parts(self) -> Iterator[PartRecord]:
        """The parts of all inputs."""
        return (part for record in self.partitions for part in record.parts)


NOTHING_RECORDED = OutputRecord()


def encode_record(record: OutputRecord) -> bytes:
    """The bytes of the file."""
    sink = pa.BufferOutputStream()
    schema = _WITH_VERSIONS if any(part.version is not None for part in record.parts()) else _PARTS
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=[name for name in _REPEATED if name in schema.names],
        column_encoding=dict.fromkeys(_NAMES, "DELTA_BYTE_ARRAY"),
        write_page_checksum=True,
    ) as writer:
        rows = chain(_rows(record.partitions), ({"target": name} for name in record.orphaned_parts))
        while some := list(islice(rows, ROWS)):
            writer.write_batch(batch_of(some, schema))
    return bytes(sink.getvalue())


def decode_record(data: bytes) -> OutputRecord:
    """The content of the file. Raises DataError if it is not one of this version."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        if not any(map(file.schema_arrow.equals, (_PARTS, _WITH_VERSIONS))):
            raise DataError("its columns are not those of this version")
        return _record(row for batch in file.iter_batches(ROWS) for row in _tuples(batch))
    except (OSError, pa.ArrowException) as error:
        raise DataError(str(error)) from error


def _record(rows: Iterable[tuple[Any, ...]]) -> OutputRecord:
    partitions, orphaned = list[PartitionRecord](), list[str]()
    for (source, path, file_format, error), of_input in groupby(rows, key=lambda row: row[:4]):
        if source is None:
            orphaned += [row[4] for row in of_input]
        else:
            parts = tuple(_parts(of_input))
            partitions.append(PartitionRecord(source=source, path=path, format=file_format, error=error, parts=parts))
    return OutputRecord(partitions=partitions, orphaned_parts=orphaned)


def _tuples(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _rows(partitions: Iterable[PartitionRecord]) -> Iterator[dict[str, Any]]:
    for one in partitions:
        source = {"source": one.source, "path": one.path, "format": one.format, "error": one.error}
        for part in one.parts:
            yield {
                **source,
                **{name: getattr(part, name) for name in ("target", "split", "last", "kept", *_COUNTS)},
                "sha256": _raw(part.sha256),
                "receipt": _raw(part.receipt),
                **_version_cells(part.version),
            }
        if not one.parts:
            yield source


def _parts(rows: Iterable[tuple[Any, ...]]) -> Iterator[PartRecord]:
    for row in rows:
        target, split, last, kept, sha256, receipt, *rest = row[4:]
        counts, version = rest[: len(_COUNTS)], rest[len(_COUNTS) :]
        if target is None:
            continue
        yield PartRecord(
            target=target,
            split=split,
            last=last,
            kept=kept,
            sha256=_DIGEST + sha256.hex(),
            receipt=_DIGEST + receipt.hex(),
            **dict(zip(_COUNTS, counts, strict=True)),
            version=_version(*version) if version else None,
        )


def _version_cells(version: PartVersion | None) -> dict[str, Any]:
    return {} if version is None else {**asdict(version), "identity": _raw(version.identity)}


def _version(etag: str | None, rejects_etag: str | None, identity: bytes, made_with: str) -> PartVersion | None:
    if etag is None:
        return None
    return PartVersion(etag=etag, rejects_etag=rejects_etag, identity=_DIGEST + identity.hex(), made_with=made_with)


def _raw(digest: str) -> bytes:
    return bytes.fromhex(digest.removeprefix(_DIGEST))
