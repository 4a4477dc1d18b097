"""Cells for which a cast fails, found by bisection: equal to trying each cell alone; and nulls in place of cells."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.inputs.cells.casts import equals, failing_cells, nulls_at, nulls_where

CELLS = st.lists(st.sampled_from(["1", "-7", "x", "", "9" * 30, None]), max_size=40)


def is_number(cell: str | None) -> bool:
    """Whether the cell is null or an int64."""
    return cell in (None, "1", "-7")


@given(CELLS, st.integers(0, 5))
def test_failing_cells(cells: list[str | None], offset: int) -> None:
    """Every cell that fails, by its position from the offset."""
    array = pa.array(cells, pa.string())
    wrong = [offset + at for at, cell in enumerate(cells) if not is_number(cell)]
    assert failing_cells(array, lambda some: some.cast(pa.int64()), offset) == wrong


@given(CELLS)
def test_nulls_at(cells: list[str | None]) -> None:
    """The others keep their values, also of a slice."""
    wrong = [at for at, cell in enumerate(cells) if not is_number(cell)]
    array = pa.array(["before", *cells], pa.string()).slice(1)
    assert nulls_at(array, wrong).to_pylist() == [cell if is_number(cell) else None for cell in cells]


@pytest.mark.parametrize("arrow_type", [pa.string(), pa.large_string()])
def test_texts_that_are_nulls(arrow_type: pa.DataType) -> None:
    """Of both types of text that Arrow can choose from."""
    array = pa.array(["", "a", None], arrow_type)
    assert equals(array, "").to_pylist() == [True, False, None]
    found = nulls_where(equals(array, "a"), array)
    assert (found.to_pylist(), found.type) == (["", None, None], arrow_type)
