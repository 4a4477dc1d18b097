"""Which rows of a file are counted: every so many, by their number in the file, so that neither blocks, threads nor
interruptions matter."""

import numpy as np
from numpy.typing import NDArray

#: Rows to count of a file: at most, at least where there are many columns, and the values that limit it then.
MOST_ROWS, FEWEST_ROWS, MOST_VALUES = 1 << 14, 1 << 11, 1 << 19
#: Distances between counted rows. They are prime, so that rows that repeat by the hour or the day are sampled evenly.
STRIDES = (1, 3, 5, 7, 11, 17, 31, 61, 127, 257, 521, 1031, 2053, 4099, 8209, 16411, 32771, 65537)
#: The bytes of a cell of a CSV file, about, where the number of rows is not known before it is read.
CELL_BYTES = 4


def stride_of(num_rows: int, num_columns: int) -> int:
    """The distance between counted rows of a file with so many rows, for a bundle with so many columns to count."""
    most = max(FEWEST_ROWS, min(MOST_ROWS, MOST_VALUES // max(1, num_columns)))
    return next((stride for stride in STRIDES if num_rows <= most * stride), STRIDES[-1])


def sampled_rows(num_rows: int, first_row: int, stride: int) -> slice:
    """The positions of the counted rows among consecutive rows, of which the first has the number `first_row`."""
    return slice(-first_row % stride, num_rows, stride)


def sampled_positions(
    kept: NDArray[np.int64] | None, num_rows: int, first_row: int, stride: int
) -> slice | NDArray[np.int64]:
    """Which of the kept rows are counted.

    Args:
        kept: int64 `[kept]`, positions among `num_rows` consecutive rows, ascending; None: all.
    """
    if kept is None or stride == 1:
        return sampled_rows(num_rows if kept is None else len(kept), first_row if kept is None else 0, stride)
    return np.flatnonzero((kept + first_row) % stride == 0)
