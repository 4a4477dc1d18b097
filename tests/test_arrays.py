"""Conversions between numpy and Arrow buffers, compared with pyarrow's own conversions."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.arrays import (
    batch_of,
    filled,
    repeated_text,
    stretches,
    text_array,
    to_arrow,
    to_numpy,
)

TYPES = [np.float32, np.float64, np.int64, np.bool_]


@pytest.mark.parametrize("dtype", TYPES)
@given(numbers=st.lists(st.integers(-3, 3)), masked=st.booleans(), start=st.integers(0, 3), step=st.integers(1, 3))
def test_conversions_agree_with_pyarrow(dtype: type, numbers: list[int], masked: bool, start: int, step: int) -> None:
    """For slices and strides, with and without invalid rows."""
    values = np.array(numbers, dtype=dtype)[start::step]
    valid = values.astype(bool) if masked else None
    made = to_arrow(values, valid)
    made.validate(full=True)
    assert made.equals(pa.array(values, mask=None if valid is None else ~valid))
    if made.null_count == 0:
        back = to_numpy(made)
        assert back.dtype == values.dtype
        np.testing.assert_array_equal(back, values)
        np.testing.assert_array_equal(to_numpy(made[1:]), values[1:])


SCHEMA = pa.schema(
    [("s", pa.string()), ("b", pa.bool_()), ("i", pa.int32()), ("n", pa.int64()), ("d", pa.binary(3))],
    metadata={"k": "v"},
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        "s": st.none() | st.text(),
        "b": st.none() | st.booleans(),
        "i": st.none() | st.integers(-(2**31), 2**31 - 1),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "d": st.none() | st.binary(min_size=3, max_size=3),
    },
)


@given(st.lists(ROW, max_size=20))
def test_rows_as_pyarrow_has_them(rows: list[dict[str, object]]) -> None:
    """Values that are missing are null."""
    made = batch_of(rows, SCHEMA)
    made.validate(full=True)
    assert made.equals(pa.RecordBatch.from_pylist(rows, SCHEMA), check_metadata=True)


@given(
    st.sampled_from(
        [(pa.float64(), st.floats(allow_nan=False)), (pa.int32(), st.integers(0, 9)), (pa.bool_(), st.booleans())]
    ),
    st.data(),
    st.integers(0, 3),
)
def test_nulls_are_filled_as_by_pyarrow(
    kind: tuple[pa.DataType, st.SearchStrategy[object]], data: st.DataObject, start: int
) -> None:
    """For slices, too."""
    arrow_type, values = kind
    array = pa.array(data.draw(st.lists(st.none() | values)), arrow_type)[start:]
    assert filled(array, 1).tolist() == array.fill_null(pa.scalar(1).cast(arrow_type)).to_pylist()


def test_numbers_are_not_copied() -> None:
    """The returned array shares the memory."""
    values = np.arange(4.0)
    back = to_numpy(to_arrow(values))
    values[2] = 9
    assert back.tolist() == [0, 1, 9, 3]


@pytest.mark.filterwarnings("ignore:Exporting an unversioned DLPack")  # numpy's fallback after Arrow's refusal
@pytest.mark.parametrize("array", [pa.array([1.0, None]), pa.array(["a"]), pa.array([[1]])])
def test_nulls_and_other_types_are_refused(array: pa.Array) -> None:
    """They have no value as a number."""
    with pytest.raises(TypeError):
        to_numpy(array)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_text_agrees_with_pyarrow(words: list[str]) -> None:
    """Empty texts, multi-byte characters, and no texts at all."""
    made = text_array(words)
    made.validate(full=True)
    assert made.equals(pa.array(words, pa.string()))


@pytest.mark.parametrize("rows", [0, 1, 1000])
@pytest.mark.parametrize("text", ["", "é", "seven"])
def test_repeated_text(text: str, rows: int) -> None:
    """The same as an array of equal strings."""
    found = repeated_text(text, rows)
    found.validate(full=True)
    assert found.equals(pa.array([text] * rows, pa.string()))


class TestStretches:
    """Columns side by side in memory."""

    @given(
        picks=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), max_size=12),
        rows=st.integers(0, 3),
        most=st.integers(0, 200),
    )
    def test_columns_of_two_arrays_in_any_order(self, picks: list[tuple[int, int]], rows: int, most: int) -> None:
        """Every column is there once, in its place, and what is joined shares the memory."""
        arrays = np.random.default_rng(0).random((2, 5, rows)).copy()
        first, second = arrays[0].copy(), arrays[1].copy()
        columns = [(first, second)[which][row] for which, row in picks]
        positions: list[int] = []
        for where, joined in stretches(columns, most):
            if isinstance(where, int):
                positions.append(where)
                assert joined is columns[where]
                continue
            positions += range(where.start, where.stop)
            np.testing.assert_array_equal(joined, columns[where])
            assert len(joined) > 1
            assert joined.nbytes <= most
            assert not rows or np.shares_memory(joined, columns[where.start])
        assert positions == list(range(len(columns)))

    def test_rows_of_an_array_are_one_stretch(self) -> None:
        """Of a view of Arrow's memory, too."""
        tensor = pa.record_batch({"a": [1.0, 2.0], "b": [3.0, 4.0]}).to_tensor(row_major=False)
        ((where, joined),) = stretches(list(np.asarray(tensor).T))
        assert where == slice(0, 2)
        assert joined.tolist() == [[1, 2], [3, 4]]

    def test_what_is_not_joined(self) -> None:
        """Every second value, values of another type, other arrays, and what is no array of one dimension."""
        whole = np.arange(12.0).reshape(2, 6)
        others = [pa.array([1.0] * 6), np.zeros((6, 2)), "text"]
        columns = [whole[0, ::2], whole[1, ::2], whole[0], whole[1].view(np.int64), np.arange(6.0), *others]
        assert [(where, id(alone)) for where, alone in stretches(columns)] == list(enumerate(map(id, columns)))
