"""Cells with lists: flat values and offsets, and the first problem of each row."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.inputs.cells.lists import list_cells
from scoreline.pipeline.inputs.columns import check_columns
from scoreline.pipeline.records import Lists
from scoreline.schemas.inputs import Feature

NUMBERS, WORDS = Feature(name="a", dtype="numbers"), Feature(name="a", dtype="words")
LAYOUTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]
NAN = float("nan")


def rows_of(lists: Lists) -> list[list[Any]]:
    """The values of each row."""
    values = lists.values.tolist() if isinstance(lists.values, np.ndarray) else lists.values.to_pylist()
    return [values[start:stop] for start, stop in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_in_any_layout(layout: Any) -> None:
    """A null has no steps, and no values."""
    lists, problems = list_cells(pa.array([[1, 2], None, [], [3]], layout(pa.int32())), NUMBERS)
    assert rows_of(lists) == [[1.0, 2.0], [], [], [3.0]]
    assert (lists.values.dtype, lists.offsets.dtype) == (np.float64, np.int64)
    assert sorted(problems) == [(1, "is null"), (2, "has no steps")]


def test_a_dictionary_of_lists() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([1, None, 0, 1], pa.int32()), pa.array([[1.0], [2.0, 3.0]]))
    check_columns(pa.schema([("a", array.type)]), [NUMBERS], text=(), source="a.parquet")
    lists, problems = list_cells(array, NUMBERS)
    assert rows_of(lists) == [[2.0, 3.0], [], [1.0], [2.0, 3.0]]
    assert problems == [(1, "is null")]


def test_words() -> None:
    lists, problems = list_cells(pa.array([["a", ""], ["b", None]]), WORDS)
    assert rows_of(lists) == [["a", ""], ["b", None]]
    assert lists.values.type == pa.large_string()
    assert problems == [(1, "step 1 is null")]


def test_lists_of_a_fixed_size() -> None:
    """A null takes up space in such an array, but has no values."""
    array = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float64(), 2))
    lists, problems = list_cells(array, NUMBERS)
    assert rows_of(lists) == [[1.0, 2.0], [], [3.0, 4.0]]
    assert problems == [(1, "is null")]


def test_the_first_bad_step_gives_the_reason() -> None:
    """One reason a row; steps are counted from 0 within the row."""
    array = pa.array([[0.5], [1.0, NAN, None], [None, 2.0], [1.0, 2.0, float("-inf")]])
    assert list_cells(array, NUMBERS)[1] == [
        (1, "step 1 is NaN"), (2, "step 0 is null"), (3, "step 2 is minus infinite"),
    ]  # fmt: skip
    large = pa.array([[1], [7, 2**53 + 1]])
    assert list_cells(large, NUMBERS)[1] == [
        (1, "step 1 is 9007199254740993, outside ±2^53, where float64 is not exact")
    ]


def test_empty_rows_do_not_shift_the_reasons() -> None:
    """A bad step belongs to the row that has it, though rows before it are empty or null."""
    array = pa.array([None, [], [NAN], [], [1.0, NAN]])
    assert sorted(list_cells(array, NUMBERS)[1]) == [
        (0, "is null"), (1, "has no steps"), (2, "step 0 is NaN"), (3, "has no steps"), (4, "step 1 is NaN"),
    ]  # fmt: skip


@pytest.mark.parametrize("array", [pa.nulls(2), pa.array([None, None], pa.list_(pa.float64()))])
def test_only_nulls(array: pa.Array) -> None:
    lists, problems = list_cells(array, NUMBERS)
    assert rows_of(lists) == [[], []]
    assert problems == [(0, "is null"), (1, "is null")]


@pytest.mark.parametrize(
    "array", [pa.nulls(0), pa.array([], pa.list_(pa.float64())), pa.array([], pa.list_(pa.null()))]
)
def test_no_rows(array: pa.Array) -> None:
    lists, problems = list_cells(array, NUMBERS)
    assert (lists.offsets.tolist(), len(lists), problems) == ([0], 0, [])


def test_steps_of_arrows_null_type() -> None:
    """As in a file in which every step is null."""
    lists, problems = list_cells(pa.array([[None], [None, None]], pa.list_(pa.null())), NUMBERS)
    assert lists.offsets.tolist() == [0, 1, 3]
    assert problems == [(0, "step 0 is null"), (1, "step 0 is null")]


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=4)), max_size=8),
    st.integers(0, 4),
    st.sampled_from(LAYOUTS),
)
def test_slices(rows: list[Any], start: int, layout: Any) -> None:
    """Compared with Python's lists; an array may be a slice of another."""
    lists, problems = list_cells(pa.array(rows, layout(pa.int64())).slice(start), NUMBERS)
    rows = rows[start:]
    assert [len(row) for row in rows_of(lists)] == [len(row or []) for row in rows]
    reasons = dict(problems)
    assert len(reasons) == len(problems)
    for index, row in enumerate(rows):
        if row is None:
            assert reasons[index] == "is null"
        elif not row:
            assert reasons[index] == "has no steps"
        elif None in row:
            assert reasons[index] == f"step {row.index(None)} is null"
        else:
            assert index not in reasons
            assert rows_of(lists)[index] == row
