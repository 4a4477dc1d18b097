"""Casts of which single cells fail, and nulls in place of cells. Without `pa.scalar`, which imports pandas."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...arrays import text_array, to_arrow


def failing_cells(array: pa.Array, cast: Callable[[pa.Array], object], offset: int = 0) -> list[int]:
    """The positions of the cells for which a cast raises ArrowInvalid, ascending, by bisection. `offset`: the position
    of the first cell."""
    try:
        cast(array)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [offset]
        half = len(array) // 2
        left = failing_cells(array.slice(0, half), cast, offset)
        return left + failing_cells(array.slice(half), cast, offset + half)
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
