"""Which rows of a file are counted: every so many, by their number in the file, so that neither blocks, threads nor
interruptions matter."""

import numpy as np
from numpy.typing import NDArray

#: How many rows of a file are counted at least, if it has them: of a narrow table, and of one with many columns.
#: Among 512 rows, a shift by half a standard deviation is still found in 999 of 1,000 files, with ten million
#: comparisons (simulated), and in a thousand columns, counting twice as many takes 2% of a run.
NARROW_ROWS, WIDE_ROWS, VALUES = 1 << 13, 1 << 9, 1 << 18
#: Distances between counted rows. They are prime, so that rows that repeat by the hour or the day are sampled evenly,
#: and none is far from the next, so that not many more rows are counted.
STRIDES = (
    1, 3, 5, 7, 11, 17, 23, 31, 43, 59, 83, 127, 179, 257, 367, 521, 739, 1049, 1483, 2099, 2969, 4201, 5953, 8419,
    11909, 16843, 23819, 33703, 47681, 67433,
)  # fmt: skip
#: The bytes of a cell of a CSV file, where the number of rows is not known before it is read: more than most have, so
#: that rather too many rows are counted, which takes far less time than reading them.
CELL_BYTES = 16


def stride_of(num_rows: int, num_columns: int) -> int:
    """The distance between counted rows of a file with so many rows, for a bundle with so many columns to count."""
    wanted = max(WIDE_ROWS, min(NARROW_ROWS, VALUES // max(1, num_columns)))
    return max((stride for stride in STRIDES if num_rows >= wanted * stride), default=1)


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
