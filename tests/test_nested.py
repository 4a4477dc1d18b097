"""Taking and comparing rows of Arrow arrays of any type, compared with pyarrow's Python values."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline import nested

from arrow_types import arrays, comparable, rejected_type, words

ROWS = 7
indices = st.lists(st.integers(0, ROWS - 3) | st.none(), max_size=9)


@given(array=arrays(ROWS), indices=indices)
def test_rows_of_any_type_are_taken(array: pa.Array, indices: list[int | None]) -> None:
    """The type and values are the same, also for slices; null where an index is null."""
    sliced = array.slice(1, ROWS - 2)
    taken = nested.take(sliced, pa.array(indices, pa.int64()))
    taken.validate(full=True)
    assert taken.type == array.type
    wanted = comparable(sliced)
    assert comparable(taken) == ["None" if index is None else wanted[index] for index in indices]


@given(array=arrays(ROWS))
def test_dictionaries_become_values_anywhere(array: pa.Array) -> None:
    """Nothing else changes."""
    plain = nested.converted(array.slice(1), nested.without_dictionaries(array.type))
    plain.validate(full=True)
    assert words(plain.type) == rejected_type(array.type)
    assert comparable(plain) == comparable(array.slice(1))


@given(array=arrays(ROWS))
def test_list_views_become_lists_anywhere(array: pa.Array) -> None:
    """Nothing else changes; Arrow's own cast loses values of slices and of rows."""
    plain = nested.converted(array.slice(1), nested.without_list_views(array.type))
    plain.validate(full=True)
    assert words(plain.type) == re.sub("(large_)?list_view", "large_list", words(array.type))
    assert comparable(plain) == comparable(array.slice(1))


@given(array=arrays(ROWS), other=st.permutations(range(ROWS)))
def test_arrays_are_equal_when_their_values_are(array: pa.Array, other: list[int]) -> None:
    """NaN equals itself; other rows are equal only if they have the same values."""
    assert nested.equal(array, pa.concat_arrays([array.slice(0, 3), array.slice(3)]))
    moved = nested.take(array, np.array(other, dtype=np.int64))
    assert nested.equal(array, moved) == (comparable(array) == comparable(moved))
    assert not nested.equal(array, array.slice(1))
    assert not nested.equal(array.slice(0, 0), pa.array([], pa.month_day_nano_interval()))


@given(array=arrays(ROWS))
def test_slices_are_joined(array: pa.Array) -> None:
    """As Python joins lists of their values."""
    slices = [array.slice(2), array.slice(0, 1), array.slice(1, 3)]
    made = nested.joined(slices)
    made.validate(full=True)
    assert comparable(made) == [word for one in slices for word in comparable(one)]


def dictionary(words: list[Any], indices: list[int | None], value_type: pa.DataType, *, ordered: bool) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), pa.array(words, value_type), ordered=ordered)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    ("words", "value_type"),
    [
        ([[f"{at} {n}" for n in range(100)] for at in "ab"], pa.string()),
        ([[f"{at} {n}" for n in range(100)] for at in "ab"], pa.string_view()),
        ([["x", None], ["y", None]], pa.large_string()),
        ([[[1.0], None], [[2.0, 3.0], []]], pa.list_(pa.float64())),
        ([[[1.0], None], [[2.0, 3.0], []]], pa.list_view(pa.float64())),
        ([[{"a": 1}, None], [{"a": None}, {"a": 2}]], pa.struct([("a", pa.int8())])),
    ],
)
def test_dictionaries_that_arrow_cannot_unite(words: list[list[Any]], value_type: pa.DataType, ordered: bool) -> None:
    """They have more words than the indices can count, null words, or lists."""
    arrays = [dictionary(some, [1, None, 0, *range(len(some))], value_type, ordered=ordered) for some in words]
    made = nested.joined(arrays)
    made.validate(full=True)
    assert made.type == pa.dictionary(pa.int32(), value_type, ordered)
    assert comparable(made) == [word for one in arrays for word in comparable(one)]


@pytest.mark.parametrize("arrow_type", [pa.float16(), pa.float32(), pa.float64()])
def test_floats_are_compared_bit_for_bit(arrow_type: pa.DataType) -> None:
    """Also inside lists and structs."""
    nan, zero, minus = (
        pa.array([np.dtype(arrow_type.to_pandas_dtype()).type(value)], arrow_type) for value in (np.nan, 0.0, -0.0)
    )
    one = pa.array([0, 1], pa.int32())
    for wrapped in (
        lambda array: array,
        lambda array: pa.ListArray.from_arrays(one, array),
        lambda array: pa.StructArray.from_arrays([pa.ListArray.from_arrays(one, array)], ["a"]),
    ):
        assert nested.equal(wrapped(nan), wrapped(nan))
        assert nested.equal(wrapped(minus), wrapped(minus))
        assert not nested.equal(wrapped(minus), wrapped(zero))


def runs(values: list[Any], arrow_type: pa.DataType) -> pa.Array:
    """Run-end-encoded values with two rows per run."""
    ends = pa.array(np.arange(2, 2 * len(values) + 1, 2), pa.int16())
    return pa.RunEndEncodedArray.from_arrays(ends, pa.array(values, arrow_type))


@pytest.mark.parametrize("arrow_type", [pa.string(), pa.string_view(), pa.list_(pa.string_view()), pa.int64()])
def test_runs_become_values(arrow_type: pa.DataType) -> None:
    """Also inside lists, and for slices that begin within a run."""
    words = [["a"], None, ["b", None]] if pa.types.is_list(arrow_type) else ["a", None, "b"]
    values = [1, None, 3] if pa.types.is_integer(arrow_type) else words
    array = runs(values, arrow_type).slice(1, 4)
    taken = nested.take(array, np.array([3, 0, 1], dtype=np.int64))
    assert (taken.type, taken.to_pylist()) == (arrow_type, [values[2], values[0], values[1]])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), runs(values, arrow_type).slice(1, 3))
    plain = nested.converted(lists, nested.without_runs(lists.type))
    plain.validate(full=True)
    assert (plain.type, plain.to_pylist()) == (pa.list_(arrow_type), lists.to_pylist())


def test_taken_views_keep_only_their_own_bytes() -> None:
    """Not the megabytes of other rows, which would end up in a file of rejects."""
    array = pa.array(["x" * 1000] * 1000, pa.list_(pa.string_view()).value_type)
    lists = pa.ListArray.from_arrays(pa.array(np.arange(1001), pa.int32()), array)
    taken = nested.take(lists, np.array([3], dtype=np.int64))
    assert taken.get_total_buffer_size() < 5_000


def test_metadata_of_inner_fields_is_kept() -> None:
    """Types that differ only in metadata are not confused: Iceberg stores its field ids there."""

    def arrow_type(number: bytes) -> pa.DataType:
        return pa.struct([pa.field("a", pa.string_view(), metadata={b"PARQUET:field_id": number})])

    for number in (b"7", b"8"):
        for changed in (nested.takeable(arrow_type(number)), nested.without_dictionaries(arrow_type(number))):
            assert changed.field(0).metadata == {b"PARQUET:field_id": number}
