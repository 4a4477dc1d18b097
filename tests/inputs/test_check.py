"""Values are converted to float64 exactly, or their row is rejected with a reason."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import ColumnError
from scoreline.pipeline.inputs.check import check_batch
from scoreline.pipeline.inputs.columns import check_columns
from scoreline.schemas.inputs import Feature

A, B = Feature(name="a"), Feature(name="b")


def one(array: pa.Array, *, text: bool = False, dtype: str = "float64") -> tuple[list[float], dict[int, str]]:
    """Check a single column: the kept values, and the reasons by row."""
    batch = pa.record_batch([array], names=["a"])
    checked = check_batch(batch, [Feature(name="a", dtype=dtype)], text={"a"} if text else ())
    reasons = {
        int(position): reason
        for reject in checked.rejects
        for position, reason in zip(reject.positions, reject.reasons, strict=True)
    }
    return checked.columns["a"].tolist(), reasons


@given(st.lists(st.floats(width=64), max_size=40), st.lists(st.floats(width=64), max_size=40))
def test_rows_are_kept_or_rejected_never_lost(a: list[float], b: list[float]) -> None:
    """Kept + rejected = all; rows that are finite in every feature are kept with unchanged values."""
    rows = min(len(a), len(b))
    batch = pa.record_batch([pa.array(a[:rows], pa.float64()), pa.array(b[:rows], pa.float64())], names=["a", "b"])
    checked = check_batch(batch, [A, B])
    good = [row for row in range(rows) if np.isfinite(a[row]) and np.isfinite(b[row])]
    kept = list(range(rows)) if checked.kept is None else checked.kept.tolist()
    rejected = sorted(int(p) for reject in checked.rejects for p in reject.positions)
    assert kept == good
    assert rejected == sorted(set(range(rows)) - set(good))
    assert checked.columns["a"].tolist() == [a[row] for row in good]
    for reject in checked.rejects:  # the first bad feature gives the reason
        for position in reject.positions:
            assert reject.column == ("a" if not np.isfinite(a[position]) else "b")


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=30))
def test_integers_are_exact_or_rejected(values: list[int | None]) -> None:
    """Compared with Python's integers."""
    kept, reasons = one(pa.array(values, pa.int64()))
    fine = [value for value in values if value is not None and abs(value) <= 2**53]
    assert kept == [float(value) for value in fine]
    assert [int(value) for value in kept] == fine
    assert sorted(reasons) == [row for row, v in enumerate(values) if v is None or abs(v) > 2**53]


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**20), max_value=10**20)))
def test_decimals_are_rounded_to_the_nearest_float(values: list[Decimal]) -> None:
    """`float(Decimal)` is correctly rounded."""
    kept, reasons = one(pa.array(values, pa.decimal128(38, 9)))
    assert kept == [float(value) for value in values]
    assert not reasons


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_text_cells_are_parsed_to_the_original_number(values: list[float]) -> None:
    """repr → cell → float64 is the identity."""
    kept, reasons = one(pa.array([repr(value) for value in values]), text=True)
    assert [value.hex() for value in kept] == [value.hex() for value in values]
    assert not reasons


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("", "is null"),
        ("   ", "is null"),
        ("abc", "is 'abc', not a number"),
        ("1,5", "is '1,5', not a number (set a decimal comma in the job file: [csv] decimal = \",\")"),
        ("0x10", "is '0x10', not a number"),
        ("NaN", "is NaN"),
        ("inf", "is infinite"),
        ("-inf", "is minus infinite"),
        ("9007199254740993", "is '9007199254740993', outside ±2^53, where float64 is not exact"),
        ("x" * 100, "is '" + "x" * 37 + "...', not a number"),
    ],
)
def test_a_bad_cell_rejects_only_its_row(cell: str, reason: str) -> None:
    """The rows around it are scored."""
    kept, reasons = one(pa.array(["1.5", cell, " 2 "]), text=True)
    assert kept == [1.5, 2.0]
    assert reasons == {1: reason}


def test_booleans_as_text_only_if_the_feature_is_boolean() -> None:
    """pandas writes True and False."""
    cells = pa.array(["True", "false", "1", "0"])
    assert one(cells, text=True, dtype="bool")[0] == [1.0, 0.0, 1.0, 0.0]
    assert one(cells, text=True)[1] == {0: "is 'True', not a number", 1: "is 'false', not a number"}


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (pa.array([1, 0], pa.int8()), [1.0, 0.0]),
        (pa.array([2**53, 7], pa.uint64()), [float(2**53), 7.0]),
        (pa.array([True, False]), [1.0, 0.0]),
        (pa.array(np.array([1.5, 2.25], dtype=np.float16)), [1.5, 2.25]),
        (pa.array([0.1, 3.0], pa.float32()), [float(np.float32(0.1)), 3.0]),
        (pa.array([3, 4], pa.int32()).dictionary_encode(), [3.0, 4.0]),
        (pa.array([1.0, 2.0, 3.0])[1:], [2.0, 3.0]),
    ],
)
def test_every_numeric_type_is_converted_exactly(array: pa.Array, values: list[float]) -> None:
    """Widening is exact."""
    assert one(array) == (values, {})


def test_all_null_column_rejects_every_row() -> None:
    """Arrow's null type is accepted as a numeric type."""
    assert one(pa.nulls(2)) == ([], {0: "is null", 1: "is null"})


@pytest.mark.parametrize(
    "arrow_type",
    [
        pa.string(),
        pa.binary(),
        pa.list_(pa.float64()),
        pa.timestamp("ns"),
        pa.date32(),
        pa.struct([("x", pa.int8())]),
    ],
)
def test_text_lists_and_times_are_not_numbers(arrow_type: pa.DataType) -> None:
    """The whole file is refused; the message names file, column and type."""
    with pytest.raises(ColumnError, match=r"f\.parquet: feature column 'a' is .*only numbers"):
        check_columns(pa.schema([("a", arrow_type)]), [A], text=(), source="f.parquet")


def test_missing_and_duplicate_columns_are_refused() -> None:
    """A column whose name differs in case is suggested, not used."""
    with pytest.raises(ColumnError, match="'b' is missing; 'B ' is there"):
        check_columns(pa.schema([("a", pa.int8()), ("B ", pa.int8())]), [A, B], text=(), source="f")
    duplicate = pa.schema([pa.field("a", pa.int8()), pa.field("a", pa.int8())])
    with pytest.raises(ColumnError, match="'a' appears twice"):
        check_columns(duplicate, [A], text=(), source="f")
