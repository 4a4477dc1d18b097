"""Cells of exact integers: every type that a column may have, and what is refused."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.inputs.cells.integers import integer_cells
from scoreline.schemas.inputs import Feature

ID = Feature(name="id", dtype="integer")
KEPT = Feature(name="id", dtype="integer", nulls="keep")
BIG = 2**62 + 1


@pytest.mark.parametrize(
    "array",
    [
        pa.array([BIG, -BIG, 0], pa.int64()),
        pa.array([str(BIG), f" -{BIG} ", "0"], pa.string()),
        pa.array([f"+{BIG}", f"-{BIG}.0", "00"], pa.string()),
        pa.array([str(BIG), str(-BIG), "0"], pa.large_string()).dictionary_encode(),
        pa.array([Decimal(BIG), Decimal(-BIG), Decimal(0)], pa.decimal128(38, 2)),
    ],
    ids=lambda array: str(array.type) + str(array[0]),
)
def test_exact(array: pa.Array) -> None:
    """Not through a float."""
    values, problems = integer_cells(array, ID, decimal=None)
    assert values.equals(pa.array([BIG, -BIG, 0], pa.int64()))
    assert problems == []


@pytest.mark.parametrize(
    ("array", "wrong"),
    [
        (pa.array([1, 2**63], pa.uint64()), "is 9223372036854775808, not an integer of 64 bits"),
        (pa.array(["1", "2.5"]), "is 2.5, not an integer of 64 bits"),
        (pa.array(["1", "9223372036854775808"]), "is 9223372036854775808, not an integer of 64 bits"),
        (pa.array(["1", "one"]), "is one, not an integer of 64 bits"),
        (pa.array(["1", "0x7"]), "is 0x7, not an integer of 64 bits"),
        (pa.array(["1", "7e0"]), "is 7e0, not an integer of 64 bits"),
        (pa.array([Decimal("1.00"), Decimal("2.50")]), "is 2.50, not an integer of 64 bits"),
        (pa.array([1.0, 2.5]), "is 2.5, not a whole number within"),
        (pa.array([1.0, 2.0**60]), "is 1.152921504606847e+18, not a whole number within"),
        (pa.array([1.0, float("-inf")]), "is -inf, not a whole number within"),
        (pa.array([1.0, float("nan")]), "is NaN"),
        (pa.array([1.0, None]), "is null"),
        (pa.array([1, None], pa.int64()), "is null"),
        (pa.array(["1", "  "]), "is null"),
        (pa.array([True, None]), "is null"),
    ],
)
def test_what_is_not_an_integer(array: pa.Array, wrong: str) -> None:
    """The row is named with the value; where the rule keeps nulls, only nulls are kept."""
    values, problems = integer_cells(array, ID, decimal=None)
    assert values[0].as_py() == 1
    [(position, reason)] = problems
    assert (position, reason.startswith(wrong)) == (1, True), reason
    kept, left = integer_cells(array, KEPT, decimal=None)
    assert kept.to_pylist() == [1, None]
    assert [position for position, _ in left] == ([] if wrong in ("is null", "is NaN") else [1])


@pytest.mark.parametrize(
    ("decimal", "cells", "wanted"),
    [
        (None, ["1.0", "1,0", "+7", "+-7", "-+7", "--7", "+"], [1, None, 7, None, None, None, None]),
        (".", ["1.000", "1,000", "-1."], [1, None, -1]),
        (",", ["1.000", "1,000", "-1,", "1.000,00"], [None, 1, -1, None]),
        ("|", ["1|0", "1.0"], [1, None]),
    ],
)
def test_text(decimal: str | None, cells: list[str], wanted: list[int | None]) -> None:
    """With the decimal mark of the file, and one sign."""
    values, problems = integer_cells(pa.array(cells), KEPT, decimal=decimal)
    assert values.to_pylist() == wanted
    assert [position for position, _ in problems] == [at for at, one in enumerate(wanted) if one is None]


@settings(max_examples=60)
@given(st.lists(st.floats(width=64) | st.integers(-(2**54), 2**54).map(float), max_size=20))
def test_floats(numbers: list[float]) -> None:
    """A float counts where it is a whole number of which there is only one."""
    values, problems = integer_cells(pa.array(numbers, pa.float64()), KEPT, decimal=None)
    good = [bool(np.isfinite(n) and n == int(n) and abs(n) <= 2**53) for n in numbers]
    wanted: list[Any] = [int(n) if fine else None for n, fine in zip(numbers, good, strict=True)]
    assert values.to_pylist() == wanted
    bad = [at for at, (n, fine) in enumerate(zip(numbers, good, strict=True)) if not fine and not np.isnan(n)]
    assert [position for position, _ in problems] == bad
