"""Categories are found by exact equality: numbers, text, and integers beyond float64."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.features import categories
from scoreline.pipeline.features.categories import encode
from scoreline.schemas.steps import Encoding

INT64 = st.integers(-(2**63), 2**63 - 1)
NEAR = st.sampled_from([2**53 + offset for offset in range(-2, 4)] + [-(2**62) + offset for offset in range(3)])


def codes_of(known: list[Any], values: Any, **more: Any) -> list[float]:
    codes = [10.0 + at for at in range(len(known))]
    found, _ = encode(Encoding(categories=known, codes=codes, unknown=-1, missing=-2, **more), values)
    return [float(code) for code in found]


def wanted(known: list[Any], values: list[Any]) -> list[float]:
    """By Python's own equality."""
    return [-2.0 if value is None else 10.0 + known.index(value) if value in known else -1.0 for value in values]


@settings(max_examples=50)
@given(st.lists(INT64 | NEAR, unique=True, max_size=9), st.lists(INT64 | NEAR | st.none(), max_size=9))
def test_integers(known: list[int], more: list[int | None]) -> None:
    values = [*known, *more]
    assert codes_of(known, pa.array(values, pa.int64())) == wanted(known, values)


@settings(max_examples=50)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, max_size=9),
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), max_size=9),
)
def test_numbers(known: list[float], more: list[float | None]) -> None:
    values = [*known, *more]
    given = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    assert codes_of(known, given) == wanted(known, values)


@pytest.mark.parametrize("most", [0, 1 << 17], ids=["dict", "Arrow"])
@settings(max_examples=50)
@given(known=st.lists(st.text(max_size=4), unique=True, max_size=9), more=st.lists(st.text(max_size=4) | st.none()))
def test_text(most: int, known: list[str], more: list[str | None]) -> None:
    """Many categories are found in another way than few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(categories, "MANY_WORDS", most)
        values = [*known, *more]
        assert codes_of(known, pa.array(values, pa.large_string())) == wanted(known, values)
        chunk = pa.array(["x", *values], pa.large_string()).slice(1)
        assert codes_of(known, chunk) == wanted(known, values)


def test_integers_among_floats() -> None:
    """Large values in a column whose categories are small: they are unknown."""
    values = pa.array([3, 2**60, None], pa.int64())
    found, unfit = encode(Encoding(categories=[3.0, 4.0], codes=[0.0, 1.0]), values)
    assert found[0] == 0.0
    assert [(rows.tolist(), reason.split(",")[0]) for rows, reason in unfit] == [
        ([1], "is a category that was not seen in training"),
        ([2], "is missing"),
    ]


def test_two_encodings_are_two_tables() -> None:
    """Tables are kept by encoding; equal ones may have other codes."""
    one, other = (Encoding(categories=[1.0, 2.0], codes=codes) for codes in ([0.0, 1.0], [5.0, 6.0]))
    values = np.array([2.0, 1.0])
    for _ in range(2):
        assert encode(one, values)[0].tolist() == [1.0, 0.0]
        assert encode(other, values)[0].tolist() == [6.0, 5.0]
