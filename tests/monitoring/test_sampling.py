"""Which rows of a file are counted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.monitoring.sampling import (
    NARROW_ROWS,
    STRIDES,
    WIDE_ROWS,
    sampled_positions,
    sampled_rows,
    stride_of,
)


@given(rows=st.integers(0, 10**9), columns=st.integers(1, 5000))
def test_the_number_of_counted_rows_is_bounded(rows: int, columns: int) -> None:
    """All rows of small files; of others enough for a precise comparison, and not more than a few thousand."""
    stride = stride_of(rows, columns)
    assert stride in STRIDES
    counted = rows // stride
    assert counted >= min(rows, WIDE_ROWS)
    assert counted < 3 * NARROW_ROWS or stride == STRIDES[-1]
    if stride > 3:
        assert counted < 1.7 * max(WIDE_ROWS, min(NARROW_ROWS, 2**18 // columns)) or stride == STRIDES[-1]


def test_strides_are_prime() -> None:
    """A stride with a common factor with a period of the rows would see only some of its phases."""
    assert all(stride % factor for stride in STRIDES for factor in range(2, int(stride**0.5) + 1))


@given(data=st.data(), rows=st.integers(0, 200), first_row=st.integers(0, 1000), stride=st.sampled_from(STRIDES[:6]))
def test_rows_are_chosen_by_their_number(data: st.DataObject, rows: int, first_row: int, stride: int) -> None:
    """Whatever block they are in, and whichever of them are kept."""
    wanted = [row for row in range(rows) if (first_row + row) % stride == 0]
    assert list(range(rows))[sampled_rows(rows, first_row, stride)] == wanted
    assert np.arange(rows)[sampled_positions(None, rows, first_row, stride)].tolist() == wanted
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, max(0, rows - 1))))) if rows else [], dtype=np.int64)
    found = kept[sampled_positions(kept, rows, first_row, stride)]
    assert found.tolist() == [row for row in wanted if row in set(kept.tolist())]
