"""Cells with integers that stay exact, such as ids → int64."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ....schemas.inputs import Feature
from ...arrays import filled, to_arrow, to_numpy
from ...arrow_types import Problems, is_text
from .casts import equals, failing_cells, nulls_at, nulls_where
from .numbers import EXACT

#: Text that Arrow usually reads as an integer, and that it never does, apart from hexadecimal numbers.
INTEGER, NO_INTEGER = "^-?[0-9]{1,18}$", "[^0-9+-]"


def integer_cells(array: pa.Array, feature: Feature, *, decimal: str | None) -> tuple[pa.Array, Problems]:
    """int64, null where a value is missing or is not a whole number of 64 bits with a sign.

    Floats and text are taken where they are whole numbers; a float only up to 2^53, above which it may stand for
    another number.

    Args:
        decimal: the decimal mark of text from a CSV file; None for other text, where it is a point.
    """
    integers, problems = _to_int64(array, decimal or ".")
    if integers.null_count and feature.nulls != "keep":
        known = {position for position, _ in problems}
        nulls = np.flatnonzero(to_numpy(integers.is_null())).tolist()
        is_float = pa.types.is_floating(array.type)
        reasons = ((p, "is NaN" if is_float and array[p].is_valid else "is null") for p in nulls if p not in known)
        problems += reasons
    return integers, problems


def _to_int64(array: pa.Array, decimal: str) -> tuple[pa.Array, Problems]:
    arrow_type = array.type
    if pa.types.is_dictionary(arrow_type):
        return _to_int64(array.dictionary_decode(), decimal)
    if pa.types.is_boolean(arrow_type):
        return array.cast(pa.int8()).cast(pa.int64()), []
    if pa.types.is_floating(arrow_type):
        return _whole(array.cast(pa.float64()))
    cells = array
    if is_text(arrow_type):
        cells = pc.utf8_trim_whitespace(array)
        cells = nulls_where(equals(cells, ""), cells)
        cells = pc.replace_substring_regex(cells, rf"^(?:\+([0-9]+)|(-?[0-9]+))({re.escape(decimal)}0*)?$", r"\1\2")
        hexadecimal = pc.match_substring_regex(cells, "[xX]")  # Arrow would read it
        if pc.any(hexadecimal).as_py():
            cells = pc.if_else(hexadecimal, pc.binary_join_element_wise("?", cells, ""), cells)
    try:
        return cells.cast(pa.int64()), []
    except pa.ArrowInvalid:
        wrong = failing_cells(cells, lambda some: some.cast(pa.int64()), likely=INTEGER, never=NO_INTEGER)
    problems = [(position, f"is {array[position].as_py()!s:.40}, not an integer of 64 bits") for position in wrong]
    return nulls_at(cells, wrong).cast(pa.int64()), problems


def _whole(array: pa.Array) -> tuple[pa.Array, Problems]:
    """float64 → int64; NaN is null."""
    values = np.asarray(filled(array, np.nan), dtype=np.float64)
    missing = np.isnan(values)
    with np.errstate(invalid="ignore"):
        fits = (np.abs(values) <= EXACT) & (values == np.trunc(values))
    problems = [
        (position, f"is {array[position].as_py():.17g}, not a whole number within ±2^53, where floats are exact")
        for position in np.flatnonzero(~fits & ~missing).tolist()
    ]
    return to_arrow(np.where(fits, values, 0).astype(np.int64), fits), problems
