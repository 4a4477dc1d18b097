"""Casts of which single cells fail, and nulls in place of cells. Without `pa.scalar`, which imports pandas."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...arrays import text_array, to_arrow, to_numpy
from ...arrow_types import is_text


def failing_cells(
    array: pa.Array, cast: Callable[[pa.Array], object], *, likely: str = "", never: str = ""
) -> list[int]:
    """The positions of the cells for which a cast raises ArrowInvalid, ascending. Nulls do not fail. Found by
    bisection, of text among the distinct cells: files that are not clean have the same few words in many rows.

    Args:
        likely: a regular expression for text of which most does not fail, which is cast together.
        never: one for text of which all fails, which need not be cast.
    """
    if not is_text(array.type):
        return _failing(array, cast, 0)
    distinct = array.unique()
    groups, failing = [distinct], []
    if likely and never:
        matches = pc.match_substring_regex(distinct, likely)
        others = distinct.filter(pc.invert(matches))
        hopeless = pc.match_substring_regex(others, never)
        groups = [distinct.filter(matches), others.filter(pc.invert(hopeless))]
        failing = [others.filter(hopeless)]
    failing += [group.take(to_arrow(np.array(wrong))) for group in groups if (wrong := _failing(group, cast, 0))]
    if not failing:
        return []
    found: list[int] = np.flatnonzero(to_numpy(pc.is_in(array, value_set=pa.concat_arrays(failing)))).tolist()
    return found


def _failing(array: pa.Array, cast: Callable[[pa.Array], object], offset: int) -> list[int]:
    """`offset`: the position of the first cell."""
    try:
        cast(array)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [offset]
        half = len(array) // 2
        return _failing(array.slice(0, half), cast, offset) + _failing(array.slice(half), cast, offset + half)
    return []


def nulls_at(array: pa.Array, positions: Sequence[int]) -> pa.Array:
    """The array with nulls at some positions."""
    keep = np.ones(len(array), dtype=np.bool_)
    keep[positions] = False
    return array.take(to_arrow(np.arange(len(array), dtype=np.int64), keep))


def text_scalar(text: str, arrow_type: pa.DataType) -> pa.Scalar:
    """A string of one of Arrow's types for text."""
    return text_array([text]).cast(arrow_type)[0]


def equals(array: pa.Array, value: str) -> pa.BooleanArray:
    """Which strings are equal to one; null where a value is null."""
    return pc.equal(array, text_scalar(value, array.type))


def nulls_where(where: pa.BooleanArray, array: pa.Array) -> pa.Array:
    """The same values, but null in some places."""
    return pc.if_else(where, pa.nulls(1, array.type)[0], array)
