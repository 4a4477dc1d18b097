"""Builds the rows of the output, and the rows of rejects with their reasons. Independent of files."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..arrays import batch_of
from ..errors import ColumnError
from ..nested import converted, take, take_rows, without_dictionaries
from ..records import Reject

#: Why a row was rejected. `row_number` counts the rows of the source from 0.
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
    """The keys, unchanged, then the outputs with their prefix.

    Args:
        advice: what to do if a key and an output have the same name.

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
    """The scored rows: the key columns of `batch`, which are first in `schema`, at the positions in `kept` and with the
    types of `schema`, then `columns`."""
    keys = [batch.column(name) for name in schema.names[: len(schema) - len(columns)]]
    if kept is not None:
        keys = [take(key, kept) for key in keys]
    keys = [converted(key, field.type) for key, field in zip(keys, schema, strict=False)]
    return pa.RecordBatch.from_arrays([*keys, *columns], schema=schema)


def reject_schema(batch: pa.Schema) -> pa.Schema:
    """The columns of the rejects of a file: the columns that were read, then the struct `reject` with the reason.
    Underscores are appended to its name until no input column has it.

    Dictionaries become values, since they may differ between batches, and an Arrow file has only one.
    """
    fields = [field.with_type(without_dictionaries(field.type)) for field in batch]
    name, taken = REJECT_COLUMN, set(batch.names)
    while name in taken:
        name += "_"
    return pa.schema([*fields, pa.field(name, REJECT)])


def reasons_of(rejects: Any) -> Any:
    """The column of a batch or table of rejects that holds the reasons: the last one."""
    return rejects.column(rejects.num_columns - 1)


def _no_rejects(batch: pa.Schema) -> pa.RecordBatch:
    """An empty batch of rejects, which most blocks have; cached by schema."""
    try:
        return _cached_no_rejects(batch)
    except TypeError:  # an extension type defined in Python has no hash
        return _make_no_rejects(batch)


def _make_no_rejects(batch: pa.Schema) -> pa.RecordBatch:
    schema = reject_schema(batch)
    return pa.RecordBatch.from_arrays([pa.nulls(0, arrow_type) for arrow_type in schema.types], schema=schema)


_cached_no_rejects = lru_cache(maxsize=16)(_make_no_rejects)


def assemble_rejects(
    batch: pa.RecordBatch, rejects: Sequence[Reject], *, source: str, first_row: int
) -> pa.RecordBatch:
    """The rejected rows, in the order in which they were read.

    Args:
        first_row: the row number of the batch's first row within its source.
    """
    if not rejects:
        return _no_rejects(batch.schema)
    schema = reject_schema(batch.schema)
    positions = np.concatenate([reject.positions for reject in rejects])
    order = np.argsort(positions, kind="stable")
    reasons = [
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
    structs = batch_of([reasons[index] for index in order], pa.schema(list(REJECT))).to_struct_array()
    return pa.RecordBatch.from_arrays([*columns, structs], schema=schema)


def described(reject: dict[str, object]) -> str:
    """A reject as text, such as `column 'age' is null`."""
    where = f"column {reject['column']!r} " if reject["column"] else ""
    return f"{where}{reject['reason']}"
