"""Which parts of an output belong to versions of a table: `_scoreline/committed.pq`. Does not import torch.

It is written before a version is committed, so it may list parts of a version that was never completed; the table has
the number of the last one that was. Parts that it lists are immutable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError, one_line
from .store import Store

COMMITTED = "_scoreline/committed.pq"
_SCHEMA = pa.schema([
    ("table", pa.string()), ("number", pa.int64()), ("target", pa.string()), ("receipt", pa.string()),
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedPart:
    """A part in a version of a table. `table`: its name; `number`: counts this output's versions from 1. `receipt`: the
    checksum of the receipt that the part had."""

    table: str
    number: int
    target: str
    receipt: str


def read_committed(store: Store) -> tuple[CommittedPart, ...]:
    """The parts that were committed, in the order of versions; empty if none were. Raises DataError for a damaged
    file."""
    if store.kind(COMMITTED) == "missing":
        return ()
    try:
        data = store.read(COMMITTED)
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        if not table.schema.equals(_SCHEMA):
            raise DataError("its columns are not those of this version")
    except (OSError, pa.ArrowException, DataError) as error:
        raise DataError(
            f"{store.path(COMMITTED)}, which lists the parts that tables refer to, cannot be read: {one_line(error)};"
            " restore it, or choose another --output"
        ) from error
    return tuple(CommittedPart(**row) for row in table.to_pylist())


def write_committed(store: Store, parts: Sequence[CommittedPart]) -> None:
    """Replace the list. Raises StorageError where the disk is full or failed."""
    columns = [[getattr(part, field.name) for part in parts] for field in _SCHEMA]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd", write_page_checksum=True)
    store.write(COMMITTED, bytes(sink.getvalue()))
