"""Keys and decoded columns → the rows of the output, and rejects → rows that say why. Knows nothing of files."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..arrays import to_arrow
from ..errors import ColumnError
from ..records import Reject

#: What a rejected row says of itself. `row_number` counts the rows of the source from 0.
REJECT = pa.struct(
    [
        pa.field("source", pa.string()),
        pa.field("row_number", pa.int64()),
        pa.field("stage", pa.string()),
        pa.field("column", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
REJECT_COLUMN = "reject"


def output_schema(
    keys: pa.Schema,
    outputs: Sequence[pa.Field],
    prefix: str,
    *,
    source: str,
    advice: str = "add --prefix NAME_, or leave the column out with --keys",
) -> pa.Schema:
    """Keys first, unchanged, then the outputs with their prefix. `advice`: what to do where they meet.

    Raises:
        ColumnError: an input column has the name of an output column.
    """
    fields = [field.with_name(prefix + field.name) for field in outputs]
    taken = [field.name for field in fields if field.name in set(keys.names)]
    if taken:
        raise ColumnError(f"{source}: column {taken[0]!r} is also the name of an output; {advice}")
    return pa.schema([*(keys.field(name) for name in keys.names), *fields])


def assemble(
    batch: pa.RecordBatch, kept: NDArray[np.int64] | None, columns: Sequence[pa.Array], schema: pa.Schema
) -> pa.RecordBatch:
    """The scored rows: the key columns of `batch`, which `schema` names first, at the places in `kept`."""
    keys = batch.select(schema.names[: len(schema) - len(columns)])
    if kept is not None:
        keys = _take(keys, kept)
    return pa.RecordBatch.from_arrays([*keys.columns, *columns], schema=schema)


def reject_schema(batch: pa.Schema) -> pa.Schema:
    """The columns of the rejects of a file: those that were read, as they came, and `reject`."""
    fields = [field.with_type(_plain(field.type)) for field in batch if field.name != REJECT_COLUMN]
    return pa.schema([*fields, pa.field(REJECT_COLUMN, REJECT)])


@lru_cache(maxsize=16)
def _no_rejects(batch: pa.Schema) -> pa.RecordBatch:
    """What most blocks have; made once for each schema."""
    schema = reject_schema(batch)
    return pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in schema.types], schema=schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Values instead of dictionaries, which may differ from batch to batch, and an Arrow file has one."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _without_views(kind: pa.DataType) -> pa.DataType:
    """The type with large ones in place of views, also within lists."""
    if pa.types.is_list(kind):
        return pa.list_(_without_views(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_without_views(kind.value_type))
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)


def _take(batch: pa.RecordBatch, positions: NDArray[np.int64]) -> pa.RecordBatch:
    """Some rows of a batch. Arrow cannot take from its view types, so those go by way of the large ones."""
    where = to_arrow(positions)
    columns = [
        column.take(where)
        if (plain := _without_views(column.type)).equals(column.type)
        else column.cast(plain).take(where).cast(column.type)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def assemble_rejects(
    batch: pa.RecordBatch, rejects: Sequence[Reject], *, source: str, first_row: int
) -> pa.RecordBatch:
    """The rejected rows in the order they were read.

    Args:
        first_row: the row number of the batch's first row within its source.
    """
    if not rejects:
        return _no_rejects(batch.schema)
    schema = reject_schema(batch.schema)
    positions = np.concatenate([reject.positions for reject in rejects])
    order = np.argsort(positions, kind="stable")
    said = [
        {
            "source": source,
            "row_number": first_row + int(position),
            "stage": reject.stage,
            "column": reject.column,
            "reason": reason,
        }
        for reject in rejects
        for position, reason in zip(reject.positions, reject.reasons, strict=True)
    ]
    rows = _take(batch, positions[order])
    columns = [column.cast(_plain(column.type)) for column in rows.columns]
    columns = [column for column, name in zip(columns, batch.schema.names, strict=True) if name != REJECT_COLUMN]
    structs = pa.array([said[place] for place in order], type=REJECT)
    return pa.RecordBatch.from_arrays([*columns, structs], schema=schema)


def described(reject: dict[str, object]) -> str:
    """A reject in words, as in `column 'age' is null`."""
    where = f"column {reject['column']!r} " if reject["column"] else ""
    return f"{where}{reject['reason']}"
