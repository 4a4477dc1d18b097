"""What users hold tables in → Arrow: pandas, and whatever hands itself over as Arrow's C stream (polars, DuckDB,
narwhals, Arrow itself). None of them is imported here.

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
    """Whether it is a frame of pandas, which nobody holds who has not imported it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.DataFrame)


def is_arrow(given: Any) -> bool:
    """Whether it can be handed over as Arrow's C stream, or is a record batch."""
    return isinstance(given, pa.RecordBatch) or hasattr(given, "__arrow_c_stream__")


def arrow_table(given: Any) -> pa.Table:
    """The same rows as a table of Arrow, without views.

    Raises:
        ColumnError: a stream that holds no columns.
    """
    try:
        table = pa.Table.from_batches([given]) if isinstance(given, pa.RecordBatch) else pa.table(given)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise ColumnError(f"a {type(given).__name__} cannot be read as a table: {one_line(error)}") from error
    return without_views(table)


def without_views(table: pa.Table) -> pa.Table:
    """Columns of views, of which Arrow's kernels cannot take, as plain text and bytes."""
    for place, column in enumerate(table.schema):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if kind in _VIEWS:
            values = plain(table.column(place))
            table = table.set_column(place, column.with_type(values.type), values)
    return table


def pandas_columns(frame: "pd.DataFrame", names: Sequence[str]) -> "pd.DataFrame":
    """The columns of a frame that have one of these names, as text, under it.

    Raises:
        ColumnError: two columns have the same name as text.
    """
    said = [str(name) for name in frame.columns]
    places = {name: place for place, name in enumerate(said) if name in set(names)}
    doubled = [name for name in places if said.count(name) > 1]
    if doubled:
        raise ColumnError(f"the frame has more than one column {doubled[0]!r}, which is among the features")
    return frame.iloc[:, list(places.values())].set_axis(list(places), axis=1)
