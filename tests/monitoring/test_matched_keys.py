"""Matching keys gives what a dictionary gives, whatever their type, order and gaps."""

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.monitoring.matched_keys import match_keys

START = datetime(2026, 11, 27)
#: A key for each small integer, by type; some are close to each other, others far apart.
TYPES: dict[str, tuple[pa.DataType, Any]] = {
    "consecutive integers": (pa.int64(), lambda number: number - 4),
    "distant integers": (pa.int64(), lambda number: (number * 2_654_435_761) % 1_000_003 - 500_000),
    "largest integers": (pa.uint64(), lambda number: 2**64 - 1 - number),
    "floats": (pa.float64(), lambda number: (number * 7919) % 101 / 8),
    "times": (pa.timestamp("us"), lambda number: START + timedelta(days=number * 37 % 41)),
    "text": (pa.large_string(), lambda number: "k" * (number % 3) + str(number)),
    "booleans": (pa.bool_(), lambda number: number % 2 == 0),
}
NUMBERS = st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=25)


def column(numbers: list[int | None], name: str) -> pa.Array:
    arrow_type, key = TYPES[name]
    return pa.array([None if one is None else key(one) for one in numbers], arrow_type)


def repeated(keys: list[Any]) -> set[Any]:
    return {key for key in keys if key is not None and keys.count(key) > 1}


@pytest.mark.parametrize("name", TYPES)
@given(first=NUMBERS, second=NUMBERS)
def test_against_a_dictionary(name: str, first: list[int | None], second: list[int | None]) -> None:
    """Nulls match nothing; a value that is there twice is named for each column."""
    columns = [column(numbers, name) for numbers in (first, second)]
    lists = [keys.to_pylist() for keys in columns]
    found = match_keys(*columns)
    for at, keys in zip(found.repeated, lists, strict=True):
        value = None if at is None else keys[at]
        expected = repeated(keys)
        assert value in expected if expected else value is None
    if not any(repeated(keys) for keys in lists):
        places = {key: at for at, key in enumerate(lists[1]) if key is not None}
        assert found.positions.tolist() == [places.get(key, -1) for key in lists[0]]


@pytest.mark.parametrize("name", TYPES)
def test_columns_in_the_same_order(name: str) -> None:
    """Each key is at its own place."""
    keys = column([0, 1] if name == "booleans" else [3, 1, 9, 2], name)
    found = match_keys(keys, keys)
    assert (found.positions.tolist(), found.repeated) == (list(range(len(keys))), (None, None))
