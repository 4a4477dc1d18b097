"""Cells of raw columns → the Arrow type that the bundle recorded, exactly. Nulls are kept: expressions decide what they
mean."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ....schemas.inputs import Feature
from ...arrays import filled, to_numpy
from ...arrow_types import Problems, is_list, is_text
from ...nested import converted, take, takeable, without_dictionaries, without_list_views
from ...raw_types import arrow_of, is_nested
from .casts import failing_cells, nulls_at

#: How the cells of a CSV are written.
_FORMS = (
    (pa.types.is_boolean, "true or false"),
    (pa.types.is_integer, "a whole number in the range of {}"),
    (pa.types.is_floating, "a number"),
    (pa.types.is_decimal, "a number that fits {}"),
    (pa.types.is_date, "a date as YYYY-MM-DD"),
    (pa.types.is_time, "a time as HH:MM:SS"),
)


def raw_cells(array: pa.Array, feature: Feature, *, decimal: str | None) -> tuple[pa.Array, Problems]:
    """The values as the recorded type.

    Args:
        decimal: the decimal mark of text that is parsed, None if text is not.
    """
    assert feature.arrow is not None, "raw features have one"
    values, problems = _as_recorded(array, arrow_of(feature.arrow), decimal)
    if not _holds_times(values.type):
        return values, problems
    impossible = _impossible_times(values)
    if impossible.any():  # DuckDB fails on them, and is of no use afterwards
        known = {row for row, _ in problems}
        rows = [row for row in np.flatnonzero(impossible).tolist() if row not in known]
        problems += [(row, "holds a time that is not within a day") for row in rows]
        values = nulls_at(values, np.flatnonzero(impossible).tolist())
    return values, problems


def _holds_times(arrow_type: pa.DataType) -> bool:
    if pa.types.is_struct(arrow_type):
        return any(_holds_times(field.type) for field in arrow_type)
    return _holds_times(arrow_type.value_type) if is_list(arrow_type) else bool(pa.types.is_time(arrow_type))


def _impossible_times(array: pa.Array) -> NDArray[np.bool_]:
    """bool `[rows]`: which rows hold a time before 0:00 or from 24:00 on, at any depth."""
    bad = np.zeros(len(array), dtype=np.bool_)
    arrow_type = array.type
    if pa.types.is_time(arrow_type):
        units = array.cast(pa.int32() if pa.types.is_time32(arrow_type) else pa.int64()).cast(pa.int64())
        day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[arrow_type.unit]
        outside = pc.or_(pc.less(units, 0), pc.greater_equal(units, day))
        return filled(outside, False)
    if pa.types.is_struct(arrow_type):
        for child in array.flatten():
            bad |= _impossible_times(child)
    elif is_list(arrow_type):
        inner = _impossible_times(array.flatten())
        if inner.any():
            bad[to_numpy(pc.list_parent_indices(array)).astype(np.int64)[inner]] = True
    return bad


def _as_recorded(array: pa.Array, wanted: pa.DataType, decimal: str | None) -> tuple[pa.Array, Problems]:
    array = converted(array, without_list_views(takeable(without_dictionaries(takeable(array.type)))))
    if array.type.equals(wanted):
        return array, []
    parse = decimal is not None and is_text(array.type) and not is_text(wanted)
    cells = _trimmed(array, wanted, decimal or ".") if parse else array
    try:
        return _cast(cells, wanted), []
    except pa.ArrowInvalid:
        wrong = failing_cells(cells, lambda some: _cast(some, wanted))
        problems = [(row, f"is {_shown(array[row])}, not {_form(wanted)}") for row in wrong]
        return pa.concat_arrays(list(_pieces(cells, wanted, wrong))), problems


def _trimmed(cells: pa.Array, wanted: pa.DataType, decimal: str) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(cells)
    if pa.types.is_integer(wanted):  # Arrow would read hexadecimal numbers, in two's complement
        return pc.replace_substring_regex(trimmed, "[xX]", "?")
    if pa.types.is_time(wanted):  # and an hour alone
        return pc.replace_substring_regex(trimmed, "^([^:]*)$", r"?\1")
    if decimal != "." and (pa.types.is_floating(wanted) or pa.types.is_decimal(wanted)):
        trimmed = pc.replace_substring(pc.replace_substring(trimmed, ".", "?"), decimal, ".")
    return trimmed


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """A safe cast: raises ArrowInvalid for a value that is not exact in the wanted type."""
    if array.type == pa.float16():
        array = array.cast(pa.float32())
    if is_nested(array.type):  # Arrow casts the values of the whole array below a slice
        array = take(array, np.arange(len(array)))
    if pa.types.is_time(wanted) and is_text(array.type):  # Arrow parses timestamps, but not times
        unit = wanted.unit
        array = pc.binary_join_element_wise("1970-01-01", array, " ").cast(pa.timestamp(unit))
    return array.cast(wanted)


def _pieces(array: pa.Array, wanted: pa.DataType, wrong: list[int]) -> list[pa.Array]:
    """The cast cells, null where they cannot be cast."""
    pieces, start = [], 0
    for row in wrong:
        pieces += [_cast(array.slice(start, row - start), wanted), pa.nulls(1, wanted)]
        start = row + 1
    return [*pieces, _cast(array.slice(start), wanted)]


def _form(wanted: pa.DataType) -> str:
    if pa.types.is_timestamp(wanted):
        return f"a timestamp in ISO form {'with' if wanted.tz else 'without'} a time zone, in the range of {wanted}"
    for is_one, form in _FORMS:
        if is_one(wanted):
            return form.format(wanted)
    return f"{wanted}"


def _shown(cell: pa.Scalar) -> str:
    try:
        value = cell.as_py() if is_text(cell.type) else str(cell)
    except (OverflowError, ValueError):  # Python's dates end at the year 9999
        value = "a date outside the years 1 to 9999"
    text = value if len(value) <= 40 else value[:37] + "..."
    return repr(text) if is_text(cell.type) else text
