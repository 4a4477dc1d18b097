"""Keys and decoded columns → the rows of the output, and rejects → rows that say why. Knows nothing of files."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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


def output_schema(keys: pa.Schema, outputs: Sequence[pa.Field], prefix: str, *, source: str) -> pa.Schema:
    """Keys first, unchanged, then the outputs with their prefix.

    Raises:
        ColumnError: an input column has the name of an output column.
    """
    fields = [field.with_name(prefix + field.name) for field in outputs]
    taken = [field.name for field in fields if field.name in set(keys.names)]
    if taken:
        raise ColumnError(
            f"{source}: column {taken[0]!r} is also the name of an output; add --prefix NAME_, or leave the"
            " column out with --keys"
        )
    return pa.schema([*(keys.field(name) for name in keys.names), *fields])


def assemble(
    batch: pa.RecordBatch, kept: NDArray[np.int64] | None, columns: Sequence[pa.Array], schema: pa.Schema
) -> pa.RecordBatch:
    """The scored rows: the key columns of `batch`, which `schema` names first, at the places in `kept`."""
    keys = batch.select(schema.names[: len(schema) - len(columns)])
    if kept is not None:
        keys = keys.take(pa.array(kept))
    return pa.RecordBatch.from_arrays([*keys.columns, *columns], schema=schema)


def reject_schema(batch: pa.Schema) -> pa.Schema:
    """The columns of the rejects of a file: those that were read, as they came, and `reject`."""
    fields = [field for field in batch if field.name != REJECT_COLUMN]
    return pa.schema([*fields, pa.field(REJECT_COLUMN, REJECT)])


def assemble_rejects(
    batch: pa.RecordBatch, rejects: Sequence[Reject], *, source: str, first_row: int
) -> pa.RecordBatch:
    """The rejected rows in the order they were read.

    Args:
        first_row: the row number of the batch's first row within its source.
    """
    schema = reject_schema(batch.schema)
    positions = np.concatenate([np.empty(0, dtype=np.int64), *(reject.positions for reject in rejects)])
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
    rows = batch.take(pa.array(positions[order]))
    columns = [
        rows.column(place) for place in range(len(batch.schema)) if batch.schema.names[place] != REJECT_COLUMN
    ]
    structs = pa.array([said[place] for place in order], type=REJECT)
    return pa.RecordBatch.from_arrays([*columns, structs], schema=schema)
