"""Cells for which a cast fails, found by bisection: equal to trying each cell alone; and nulls in place of cells."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.inputs.cells.casts import equals, failing_cells, nulls_at, nulls_where
from scoreline.pipeline.inputs.cells.integers import INTEGER, NO_INTEGER
from scoreline.pipeline.inputs.cells.numbers import NO_NUMBER, NUMBER

CELLS = st.lists(st.sampled_from(["1", "-7", "x", "", "9" * 30, None]), max_size=40)


def is_number(cell: str | None) -> bool:
    """Whether the cell is null or an int64."""
    return cell in (None, "1", "-7")


def alone(cells: list[str | None], arrow_type: pa.DataType) -> list[int]:
    """The positions of the cells that Arrow does not cast alone."""
    found = []
    for at, cell in enumerate(cells):
        try:
            pa.array([cell], pa.string()).cast(arrow_type)
        except pa.ArrowInvalid:
            found.append(at)
    return found


@given(CELLS, st.integers(0, 5), st.sampled_from(["", "^-?[0-9]+$", "^x?$", "."]))
def test_failing_cells(cells: list[str | None], offset: int, likely: str) -> None:
    """Every cell that fails, also of a slice, whatever is taken to be likely."""
    array = pa.array(["x"] * offset + cells, pa.string()).slice(offset)
    found = failing_cells(array, lambda some: some.cast(pa.int64()), likely=likely, never="[a-z]")
    assert found == [at for at, cell in enumerate(cells) if not is_number(cell)] == alone(cells, pa.int64())


@pytest.mark.parametrize(
    ("arrow_type", "likely", "never"),
    [(pa.float64(), NUMBER, NO_NUMBER), (pa.int64(), INTEGER, NO_INTEGER)],
    ids=["numbers", "integers"],
)
@given(
    cells=st.lists(st.none() | st.text("0123456789+-.eExXinfatyINFATY_ ()k\n\0", max_size=7) | st.text(), max_size=40)
)
def test_what_arrow_reads(arrow_type: pa.DataType, likely: str, never: str, cells: list[str | None]) -> None:
    """Those that it reads alone, and no others. (Hexadecimal integers are refused before.)"""
    cells = [cell if cell is None or likely is NUMBER else cell.replace("x", "?").replace("X", "?") for cell in cells]
    array = pa.array(cells, pa.string())
    found = failing_cells(array, lambda some: some.cast(arrow_type), likely=likely, never=never)
    assert found == alone(cells, arrow_type)


@pytest.mark.parametrize("arrow_type", [pa.float64(), pa.int64()])
def test_every_character_that_no_number_has(arrow_type: pa.DataType) -> None:
    """Anywhere in a text."""
    never = re.compile(NO_NUMBER if pa.types.is_floating(arrow_type) else NO_INTEGER)
    odd = [chr(code) for code in (*range(0x250), *range(0x2000, 0x2070), 0xFF11, 0x1D7CF) if never.search(chr(code))]
    cells = [text for one in odd for text in (one, f"1{one}", f"{one}1", f"1{one}2", f"nan{one}", f"0{one}1")]
    cells = [cell for cell in cells if cell[:2].lower() != "0x"]
    assert len(odd) > 500
    assert alone(cells, arrow_type) == list(range(len(cells)))


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_cells_that_are_not_text(cells: list[int | None]) -> None:
    """Are cast as they are."""
    wrong = [at for at, cell in enumerate(cells) if cell is not None and not -128 <= cell < 128]
    assert failing_cells(pa.array(cells, pa.int64()), lambda some: some.cast(pa.int8())) == wrong


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
