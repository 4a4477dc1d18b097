"""Keys and decoded columns → the rows of the output, and rejects → rows that say why. Knows nothing of files."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import ColumnError
from ..nested import converted, take, take_rows, without_dictionaries
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
    """The scored rows: the key columns of `batch`, which `schema` names first, at the places in `kept`, in the types of
    `schema`."""
    keys = [batch.column(name) for name in schema.names[: len(schema) - len(columns)]]
    if kept is not None:
        keys = [take(key, kept) for key in keys]
    keys = [converted(key, field.type) for key, field in zip(keys, schema, strict=False)]
    return pa.RecordBatch.from_arrays([*keys, *columns], schema=schema)


def reject_schema(batch: pa.Schema) -> pa.Schema:
    """The columns of the rejects of a file: those that were read, as they came, and as the last one the struct that
    says why, `reject`, with as many underscores behind it as it takes to be no input column's name.

    Dictionaries become values, since they may differ from batch to batch, and an Arrow file has one.
    """
    fields = [field.with_type(without_dictionaries(field.type)) for field in batch]
    name, taken = REJECT_COLUMN, set(batch.names)
    while name in taken:
        name += "_"
    return pa.schema([*fields, pa.field(name, REJECT)])


def reasons_of(rejects: Any) -> Any:
    """The column of a batch or table of rejects that says why: the last one, whatever it is called."""
    return rejects.column(rejects.num_columns - 1)


def _no_rejects(batch: pa.Schema) -> pa.RecordBatch:
    """What most blocks have; made once for each schema."""
    try:
        return _remembered_no_rejects(batch)
    except TypeError:  # an extension type that is written in Python has no hash
        return _make_no_rejects(batch)


def _make_no_rejects(batch: pa.Schema) -> pa.RecordBatch:
    schema = reject_schema(batch)
    return pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in schema.types], schema=schema)


_remembered_no_rejects = lru_cache(maxsize=16)(_make_no_rejects)


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
    rows = take_rows(batch, positions[order])
    columns = [converted(column, field.type) for column, field in zip(rows.columns, schema, strict=False)]
    structs = pa.array([said[place] for place in order], type=REJECT)
    return pa.RecordBatch.from_arrays([*columns, structs], schema=schema)


def described(reject: dict[str, object]) -> str:
    """A reject in words, as in `column 'age' is null`."""
    where = f"column {reject['column']!r} " if reject["column"] else ""
    return f"{where}{reject['reason']}"
