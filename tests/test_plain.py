"""Removing views, dictionaries and run-ends keeps the values of columns."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.plain import plain

TEXT = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())]
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda arrow_type: pa.list_(arrow_type, 2)]
WORDS = st.lists(st.none() | st.sampled_from(["", "a", "ä", "a longer word than twelve"]), max_size=8)


@given(st.sampled_from(TEXT), WORDS, st.integers(0, 3))
def test_text(arrow_type: pa.DataType, words: list[Any], start: int) -> None:
    """In any layout, in slices and chunks; and Arrow can take rows of the result."""
    column = pa.chunked_array([pa.array(words, arrow_type), pa.array(words, arrow_type)]).slice(start)
    found = plain(column)
    assert found.type == pa.large_string()
    assert found.to_pylist() == column.to_pylist()
    assert found.take(pa.array([None], pa.int64())).to_pylist() == [None]


@pytest.mark.parametrize("make", range(len(LISTS)))
@given(
    rows=st.lists(st.none() | st.tuples(*[st.none() | st.sampled_from(["", "b"])] * 2), max_size=6),
    start=st.integers(0, 2),
)
def test_lists(make: int, rows: list[Any], start: int) -> None:
    """Of every list type, with nulls at both levels; Arrow's own casts lose values of list views."""
    for arrow_type in (pa.string(), pa.string_view()):
        column = pa.array([None if row is None else list(row) for row in rows], LISTS[make](arrow_type)).slice(start)
        found = plain(column)
        assert found.type == pa.large_list(pa.large_string())
        assert found.to_pylist() == column.to_pylist()
        assert found.take(pa.array(range(len(found)), pa.int64())).to_pylist() == column.to_pylist()


def test_runs_extensions_and_bytes() -> None:
    """Also dictionaries of views, which Arrow cannot decode."""
    runs = pc.run_end_encode(pa.array(["a", "a", None]))
    views = pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), pa.array(["a", "b"], pa.string_view()))
    named = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    for column, values, arrow_type in (
        (runs, ["a", "a", None], pa.large_string()),
        (views, ["b", "a", None], pa.large_string()),
        (named, [b"0123456789abcdef"], pa.large_binary()),
        (pa.array([b"x"], pa.binary_view()), [b"x"], pa.large_binary()),
        (pa.array([1]), [1], pa.int64()),
    ):
        assert (plain(column).to_pylist(), plain(column).type) == (values, arrow_type)
