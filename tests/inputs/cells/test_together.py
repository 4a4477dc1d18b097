"""Columns of numbers that are converted together equal those converted one by one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.arrays import stretches
from scoreline.pipeline.inputs.cells import together
from scoreline.pipeline.inputs.cells.numbers import number_cells
from scoreline.pipeline.inputs.cells.together import numbers_together, suspects
from scoreline.schemas.inputs import Feature

ROWS = 7


@pytest.fixture(autouse=True)
def few_rows_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all tests but one."""
    monkeypatch.setattr(together, "MIN_ROWS", 0)


FLOATS = st.one_of(st.none(), st.floats(width=32))
WHOLE = st.integers(0, 127)
TYPES = [
    (pa.float64(), FLOATS),
    (pa.float32(), FLOATS),
    (pa.int8(), WHOLE),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int64(), st.one_of(st.none(), st.integers(-(2**53), 2**53))),
    (pa.bool_(), st.booleans()),
    (pa.decimal128(9, 2), st.decimals(min_value=-9, max_value=9, places=2)),
]
COLUMNS = st.lists(
    st.sampled_from(TYPES).flatmap(
        lambda kind: st.lists(kind[1], min_size=ROWS, max_size=ROWS).map(lambda values: pa.array(values, kind[0]))
    ),
    min_size=1,
    max_size=6,
)


@given(columns=COLUMNS, start=st.integers(0, 2), keep=st.booleans())
def test_as_one_by_one(columns: list[pa.Array], start: int, keep: bool) -> None:
    """Every type, in slices too. Whatever rejects a row is suspected, and nothing that is finite and small."""
    names = [f"c{index}" for index in range(len(columns))]
    batch = pa.record_batch(columns, names=names).slice(start)
    made = numbers_together(batch, names)
    features = [Feature(name=name, nulls="keep" if keep else "reject") for name in made]
    suspected = suspects(made, features)
    for feature in features:
        values, problems = number_cells(batch.column(feature.name), feature, decimal=None)
        good = np.delete(np.arange(len(values)), [position for position, _ in problems])
        np.testing.assert_array_equal(made[feature.name][good], values[good])
        assert not problems or feature.name in suspected
        if np.abs(made[feature.name]).max() < 1e300:
            assert feature.name not in suspected
    for name in set(names) - made.keys():
        assert not pa.types.is_floating(batch.column(name).type)


def test_rows_of_one_array() -> None:
    """Whatever their types, in the order of their names."""
    batch = pa.record_batch({"a": [1.0, 2.0], "text": ["x", "y"], "b": pa.array([3, 4], pa.int32()), "c": [5.0, None]})
    made = numbers_together(batch, ["c", "a", "b", "text"])
    ((where, whole),) = stretches(list(made.values()))
    assert (list(made), where) == (["c", "a", "b"], slice(0, 3))
    np.testing.assert_array_equal(whole, [[5, np.nan], [1, 2], [3, 4]])


@pytest.mark.parametrize("exact", [-(2**53), 2**53])
def test_integers_up_to_the_last_exact_one(exact: int) -> None:
    """One further is left to the conversion by cell, which rejects its row."""
    beyond = exact + (1 if exact > 0 else -1)
    assert numbers_together(pa.record_batch({"a": [exact, 0]}), ["a"])["a"].tolist() == [exact, 0]
    assert numbers_together(pa.record_batch({"a": [beyond, 0]}), ["a"]) == {}


def test_sums_that_overflow_are_suspected() -> None:
    """They are checked by cell."""
    made = numbers_together(pa.record_batch({"a": [1.7e308, 1.7e308], "b": [1.0, 2.0]}), ["a", "b"])
    assert suspects(made, [Feature(name="a"), Feature(name="b")]) == {"a"}


def test_nothing_together() -> None:
    """No columns, and no rows."""
    assert numbers_together(pa.record_batch({"a": ["x"]}), ["a"]) == {}
    empty = numbers_together(
        pa.record_batch({"a": pa.array([], pa.float64()), "b": pa.array([], pa.int8())}), ["a", "b"]
    )
    assert {name: len(values) for name, values in empty.items()} == {"a": 0, "b": 0}
    assert suspects(empty, [Feature(name="a"), Feature(name="b")]) == set()


def test_few_rows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their columns are converted one by one."""
    monkeypatch.undo()
    few, many = (pa.record_batch({"a": np.zeros(rows)}) for rows in (together.MIN_ROWS - 1, together.MIN_ROWS))
    assert numbers_together(few, ["a"]) == {}
    assert list(numbers_together(many, ["a"])) == ["a"]
