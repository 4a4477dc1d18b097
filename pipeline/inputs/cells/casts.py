"""Casts of which single cells fail: which ones, and the array without them."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from ...arrays import to_arrow


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
