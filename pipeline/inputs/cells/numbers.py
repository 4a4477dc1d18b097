"""Cells with numbers → float64. A number without an exact float64 is a bad value."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ....schemas.inputs import Feature
from ...arrays import filled, to_arrow, to_numpy
from ...arrow_types import Problems, is_text
from .casts import equals, failing_cells, nulls_at, nulls_where, text_scalar

#: Text that Arrow usually reads as a number, and that it never does: it also reads inf, infinity, nan and nan(…).
NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
NO_NUMBER = r"^[^(]*[^(0-9+\-.eEinfatyINFATY][^(]*$"
#: Above this, float64 cannot represent every integer.
EXACT = 2**53
_FLOAT64 = pa.float64().id
_EXACT = to_arrow(np.array([float(EXACT)]))[0]


def number_cells(array: pa.Array, feature: Feature, *, decimal: str | None) -> tuple[NDArray[np.float64], Problems]:
    array, problems = _to_float64(array, feature, decimal=decimal)
    keep = feature.nulls == "keep"
    if array.null_count:
        known = {position for position, _ in problems}
        nulls = np.flatnonzero(to_numpy(array.is_null())).tolist()
        if not keep:
            problems += [(position, "is null") for position in nulls if position not in known]
    values: NDArray[np.float64] = np.asarray(filled(array, np.nan if keep else 0.0), dtype=np.float64)
    finite = ~np.isinf(values) if keep else np.isfinite(values)
    if not finite.all():
        words = {position: _word(values[position]) for position in np.flatnonzero(~finite).tolist()}
        problems += [(position, f"is {word}") for position, word in words.items()]
    return values, problems


def _word(value: np.float64) -> str:
    return "NaN" if np.isnan(value) else "infinite" if value > 0 else "minus infinite"


def _to_float64(array: pa.Array, feature: Feature, *, decimal: str | None) -> tuple[pa.Array, Problems]:
    """`decimal`: the decimal mark of text that is parsed as numbers, None if text is not."""
    arrow_type = array.type
    if arrow_type.id == _FLOAT64:
        return array, []
    if pa.types.is_dictionary(arrow_type):
        return _to_float64(array.dictionary_decode(), feature, decimal=decimal)
    if is_text(arrow_type) and decimal is not None:
        return _parse(array, feature, decimal)
    if pa.types.is_decimal(arrow_type):
        # Through text, so that the value is rounded only once, correctly.
        return array.cast(pa.string()).cast(pa.float64()), []
    if pa.types.is_integer(arrow_type):
        return _exact_integers(array)
    if pa.types.is_boolean(arrow_type):
        return array.cast(pa.int8()).cast(pa.float64()), []
    return array.cast(pa.float64()), []


def _exact_integers(array: pa.Array) -> tuple[pa.Array, Problems]:
    try:
        return array.cast(pa.float64()), []  # a safe cast, which fails for inexact values
    except pa.ArrowInvalid:
        inexact = pc.greater(array, pa.scalar(EXACT, array.type))
        if not pa.types.is_unsigned_integer(array.type):
            inexact = pc.or_(inexact, pc.less(array, pa.scalar(-EXACT, array.type)))
        where = np.flatnonzero(filled(inexact, False)).tolist()
        problems = [(p, f"is {array[p]}, outside ±2^53, where float64 is not exact") for p in where]
        return nulls_where(inexact, array).cast(pa.float64()), problems


def _parse(cells: pa.Array, feature: Feature, decimal: str) -> tuple[pa.Array, Problems]:
    """Text cells → float64, null if a cell is null or not a number."""
    array = _zero_or_one(cells) if feature.dtype == "bool" else cells
    if decimal != ".":  # then a point is not a decimal mark, and thousands separators are not supported
        array = pc.replace_substring(pc.replace_substring(array, ".", "?"), decimal, ".")
    try:
        numbers, problems = array.cast(pa.float64()), []
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(array)
        trimmed = nulls_where(equals(trimmed, ""), trimmed)
        wrong = failing_cells(trimmed, lambda some: some.cast(pa.float64()), likely=NUMBER, never=NO_NUMBER)
        problems = [
            (p, f"is {_shown(cells[p].as_py())}, not a number{_comma_hint(cells[p].as_py(), decimal)}") for p in wrong
        ]
        numbers = nulls_at(trimmed, wrong).cast(pa.float64())
    problems += _inexact_cells(cells, numbers)
    if feature.dtype == "float32":  # as in a Parquet column of that type
        numbers = numbers.cast(pa.float32(), safe=False).cast(pa.float64())
    return numbers, problems


def _comma_hint(cell: str, decimal: str) -> str:
    """A hint for numbers with a decimal comma, if none is configured; 1,000 may be a thousand."""
    comma = decimal == "." and re.fullmatch(r"\s*[+-]?(0,[0-9]+|[0-9]+,([0-9]{1,2}|[0-9]{4,}))\s*", cell)
    return ' (set a decimal comma in the job file: [csv] decimal = ",")' if comma else ""


def _inexact_cells(text: pa.Array, numbers: pa.Array) -> Problems:
    """Cells with integers that have no exact float64."""
    size = pc.abs(numbers)
    # Values that are infinite as float64 are rejected already.
    large = pc.and_(pc.greater_equal(size, _EXACT), pc.is_finite(size))
    where = np.flatnonzero(filled(large, False)).tolist()
    cells = [(p, text[p].as_py().strip()) for p in where]
    return [
        (p, f"is {_shown(cell)}, outside ±2^53, where float64 is not exact") for p, cell in cells if _is_beyond(cell)
    ]


def _is_beyond(cell: str) -> bool:
    digits = cell.lstrip("+-").lstrip("0")
    return digits.isdigit() and (len(digits) > len(str(EXACT)) or int(digits) > EXACT)


def _zero_or_one(array: pa.Array) -> pa.Array:
    lowered = pc.utf8_lower(array)
    zero, one = (text_scalar(digit, array.type) for digit in "01")
    return pc.if_else(equals(lowered, "true"), one, pc.if_else(equals(lowered, "false"), zero, array))


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")
