"""Cells with numbers: exact float64, or the reason why not; `tests/inputs/test_check.py` has whole batches."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.inputs.cells.numbers import number_cells
from scoreline.schemas.inputs import Feature


def cells(
    array: pa.Array, *, decimal: str | None = None, dtype: Any = "float64", nulls: Any = "reject"
) -> tuple[list[float], dict[int, str]]:
    """The values, and the reasons by row; a row has one reason."""
    values, problems = number_cells(array, Feature(name="a", dtype=dtype, nulls=nulls), decimal=decimal)
    assert values.dtype == np.float64
    assert len(values) == len(array)
    assert len(dict(problems)) == len(problems)
    return values.tolist(), dict(problems)


@pytest.mark.parametrize("arrow_type", [pa.float64(), pa.int8(), pa.bool_(), pa.decimal128(5, 2), pa.null()])
def test_no_rows(arrow_type: pa.DataType) -> None:
    assert cells(pa.array([], arrow_type)) == ([], {})


def test_float64_is_not_copied() -> None:
    """The values are those in the file's buffer."""
    array = pa.array([1.5, -0.0])
    values, _ = number_cells(array, Feature(name="a"), decimal=None)
    assert values.ctypes.data == array.buffers()[1].address
    assert math.copysign(1, values[1]) == -1


def test_missing_values_are_rejected_or_kept() -> None:
    """Kept as NaN, and then NaN is a missing value too; an infinity never is."""
    array = pa.array([1.0, None, math.nan, math.inf, -math.inf])
    infinities = {3: "is infinite", 4: "is minus infinite"}
    assert cells(array)[1] == {1: "is null", 2: "is NaN", **infinities}
    values, reasons = cells(array, nulls="keep")
    assert [math.isnan(value) for value in values] == [False, True, True, False, False]
    assert reasons == infinities


@pytest.mark.parametrize("array", [pa.array([None, 5, 2**53 + 1]), pa.array([None, 5, 2**53 + 1], pa.uint64())])
def test_a_large_integer_is_not_reported_as_null(array: pa.Array) -> None:
    """It has its own reason; with missing values kept, it is still a reject."""
    large = "is 9007199254740993, outside ±2^53, where float64 is not exact"
    assert cells(array)[1] == {0: "is null", 2: large}
    assert cells(array, nulls="keep")[1] == {2: large}


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**53 - 1, 0])
def test_integers_at_the_limit(value: int) -> None:
    """Also written with leading zeros."""
    assert cells(pa.array([value, 1])) == ([float(value), 1.0], {})
    assert cells(pa.array([str(value), f"{value:025d}"]), decimal=".") == ([float(value)] * 2, {})


@pytest.mark.parametrize("beyond", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_integers_at_the_limit_beside_one_beyond_it(beyond: int) -> None:
    """Only the one beyond it is rejected, on both sides of zero."""
    within = [2**53, -(2**53), 0]
    reason = f"is {beyond}, outside ±2^53, where float64 is not exact"
    values, reasons = cells(pa.array([*within, beyond]))
    assert (values[:3], reasons) == ([float(value) for value in within], {3: reason})
    if beyond > 0:
        assert cells(pa.array([2**53, beyond], pa.uint64()))[1] == {1: reason}


@settings(max_examples=40)
@given(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=8))
def test_integers_as_text_are_exact_or_rejected(values: list[int]) -> None:
    """An integer beyond 2^53 that float64 holds exactly by chance is a reject as well."""
    found, reasons = cells(pa.array([str(value) for value in values], pa.string()), decimal=".")
    beyond = {row for row, value in enumerate(values) if abs(value) > 2**53}
    assert set(reasons) == beyond
    assert [int(found[row]) for row in range(len(values)) if row not in beyond] == [
        value for value in values if abs(value) <= 2**53
    ]


def test_a_large_number_that_is_not_an_integer() -> None:
    """Written as a float, it is rounded as usual."""
    assert cells(pa.array(["1e300", "9007199254740993.5", "-1e16"]), decimal=".") == (
        [1e300, 9007199254740993.5, -1e16], {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1,5", 1.5), ("-0,25", -0.25), ("7", 7.0), (" 2,5 ", 2.5), ("1.5", None), ("1.000,5", None), ("1,0,0", None)],
)
def test_a_decimal_comma(cell: str, value: float | None) -> None:
    """A point is then neither a decimal mark nor a thousands separator."""
    values, reasons = cells(pa.array([cell, "0,5"]), decimal=",")
    assert values[1] == 0.5
    assert (values[0], reasons) == ((value, {}) if value is not None else (0.0, {0: f"is {cell!r}, not a number"}))


def test_text_of_another_type_than_float64() -> None:
    """float32 is rounded as a Parquet column of that type would be; booleans are words or 0 and 1."""
    assert cells(pa.array(["0.1"]), decimal=".", dtype="float32")[0] == [float(np.float32(0.1))]
    assert cells(pa.array(["TRUE", "false", "1", None]), decimal=".", dtype="bool") == (
        [1.0, 0.0, 1.0, 0.0], {3: "is null"},
    )  # fmt: skip
    assert cells(pa.array(["yes"]), decimal=".", dtype="bool")[1] == {0: "is 'yes', not a number"}


@pytest.mark.parametrize("arrow_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_text_in_any_layout(arrow_type: pa.DataType) -> None:
    array = pa.array(["1", None, "x", "1"]).cast(arrow_type)
    assert cells(array, decimal=".") == ([1.0, 0.0, 0.0, 1.0], {1: "is null", 2: "is 'x', not a number"})


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["1", "-2.5e3", "x", "", " 3 ", "1,5", "--1", "0x1"]), max_size=20))
def test_bad_cells_are_found_wherever_they_are(text: list[str]) -> None:
    """Compared with Python's `float`, cell by cell."""
    values, reasons = cells(pa.array(text, pa.string()), decimal=".")
    good = {"1": 1.0, "-2.5e3": -2500.0, " 3 ": 3.0}
    assert set(reasons) == {row for row, cell in enumerate(text) if cell not in good}
    assert [values[row] for row, cell in enumerate(text) if cell in good] == [
        float(cell) for cell in text if cell in good
    ]
    assert all((reason == "is null") == (text[row] == "") for row, reason in reasons.items())


def test_the_hint_for_a_decimal_comma() -> None:
    """Only where the cell would be a number with it."""
    reasons = cells(pa.array(["1,5", "1,5,0", "a,5"]), decimal=".")[1]
    assert [("decimal comma" in reason) for reason in reasons.values()] == [True, False, False]
    assert reasons[0] == "is '1,5', not a number (set a decimal comma in the job file: [csv] decimal = \",\")"


@pytest.mark.parametrize(("length", "shown"), [(40, "x" * 40), (41, "x" * 37 + "...")])
def test_long_cells_are_cut(length: int, shown: str) -> None:
    assert cells(pa.array(["x" * length]), decimal=".")[1] == {0: f"is '{shown}', not a number"}
