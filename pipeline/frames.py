"""Data frames → Arrow: pandas, and anything with Arrow's C stream interface (polars, DuckDB, narwhals, Arrow itself).
None of these libraries is imported here.

Columns are bound by their names as text: column 0 of `pd.DataFrame(array)` is feature "0".
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import pyarrow as pa

from .errors import ColumnError, one_line
from .plain import plain

if TYPE_CHECKING:
    import pandas as pd

_VIEWS = (pa.string_view(), pa.binary_view())


def is_pandas(given: Any) -> "TypeGuard[pd.DataFrame]":
    """Whether it is a pandas frame; false if pandas has not been imported."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.DataFrame)


def is_arrow(given: Any) -> bool:
    """Whether it has Arrow's C stream interface, or is a record batch."""
    return isinstance(given, pa.RecordBatch) or hasattr(given, "__arrow_c_stream__")


def arrow_table(given: Any) -> pa.Table:
    """Convert to an Arrow table without view types.

    Raises:
        ColumnError: the stream is not a table.
    """
    try:
        table = pa.Table.from_batches([given]) if isinstance(given, pa.RecordBatch) else pa.table(given)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise ColumnError(f"a {type(given).__name__} cannot be read as a table: {one_line(error)}") from error
    return without_views(table)


def without_views(table: pa.Table) -> pa.Table:
    """Convert string and binary views, which Arrow's `take` does not support, to plain strings and bytes."""
    for index, column in enumerate(table.schema):
        arrow_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if arrow_type in _VIEWS:
            values = plain(table.column(index))
            table = table.set_column(index, column.with_type(values.type), values)
    return table


def pandas_table(frame: "pd.DataFrame", names: Sequence[str]) -> pa.Table:
    """The columns of a frame whose names, as text, are among `names`, under that text.

    Raises:
        ColumnError: the names of two columns are equal as text, or values are not plain numbers.
    """
    columns = pandas_columns(frame, names)
    try:
        return without_views(pa.Table.from_pandas(columns, preserve_index=False))
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise ColumnError(f"the frame's features are not plain numbers: {one_line(error)}") from error


def pandas_columns(frame: "pd.DataFrame", names: Sequence[str]) -> "pd.DataFrame":
    """The columns of a frame whose names, as text, are among `names`; renamed to that text.

    Raises:
        ColumnError: the names of two columns are equal as text.
    """
    texts = [str(name) for name in frame.columns]
    indices = {name: index for index, name in enumerate(texts) if name in set(names)}
    duplicates = [name for name in indices if texts.count(name) > 1]
    if duplicates:
        raise ColumnError(f"the frame has more than one column {duplicates[0]!r}, which is among the features")
    return frame.iloc[:, list(indices.values())].set_axis(list(indices), axis=1)
