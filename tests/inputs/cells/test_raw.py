"""Raw columns: the recorded types, which types of a file fit them, and cells that cannot have the type."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import ColumnError
from scoreline.pipeline.inputs.check import check_batch
from scoreline.pipeline.inputs.columns import check_columns
from scoreline.pipeline.options import CsvDialect
from scoreline.pipeline.raw_types import arrow_of, recorded_type
from scoreline.schemas.arrow_types import ArrowType
from scoreline.schemas.inputs import Feature


def raw(arrow_type: pa.DataType) -> Feature:
    """A raw feature `x`."""
    return Feature(name="x", dtype="raw", nulls="keep", arrow=recorded_type(arrow_type))


@pytest.mark.parametrize(
    ("arrow_type", "recorded"),
    [
        (pa.int16(), pa.int16()),
        (pa.float16(), pa.float32()),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.binary(4), pa.binary()),
        (pa.date64(), pa.date32()),
        (pa.time32("ms"), pa.time64("us")),
        (pa.timestamp("s"), pa.timestamp("us")),
        (pa.timestamp("ns"), pa.timestamp("ns")),
        (pa.timestamp("us", "Europe/Berlin"), pa.timestamp("us", "UTC")),
        (pa.decimal128(10, 2), pa.decimal128(10, 2)),
        (pa.large_list(pa.large_string()), pa.list_(pa.string())),
        (pa.list_(pa.int8(), 3), pa.list_(pa.int8())),
        (pa.struct([("a", pa.list_view(pa.date64()))]), pa.struct([("a", pa.list_(pa.date32()))])),
    ],
)
def test_recorded_types(arrow_type: pa.DataType, recorded: pa.DataType) -> None:
    """The layout is not recorded, and a record survives JSON."""
    record = recorded_type(arrow_type)
    assert arrow_of(ArrowType.model_validate_json(record.model_dump_json())).equals(recorded)
    check_columns(pa.schema([("x", arrow_type)]), [raw(arrow_type)], text=(), source="a.parquet")


@pytest.mark.parametrize(
    "arrow_type",
    [pa.null(), pa.duration("s"), pa.decimal256(50, 2), pa.map_(pa.string(), pa.int8()), pa.list_(pa.null())],
)
def test_types_that_are_not_recorded(arrow_type: pa.DataType) -> None:
    """Types that expressions cannot read."""
    with pytest.raises(ValueError, match="is not supported"):
        recorded_type(arrow_type)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (pa.float64(), pa.float32()),
        (pa.float64(), pa.int64()),
        (pa.string(), pa.int64()),
        (pa.string(), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.int64(), pa.string()),
        (pa.date32(), pa.timestamp("us")),
        (pa.struct([("b", pa.int64())]), pa.struct([("a", pa.int64())])),
        (pa.list_(pa.string()), pa.list_(pa.int64())),
    ],
)
def test_types_that_do_not_fit(given: pa.DataType, wanted: pa.DataType) -> None:
    """A column of a file that is not what the bundle was saved with."""
    with pytest.raises(ColumnError, match="when the bundle was saved; cast it where the file is written"):
        check_columns(pa.schema([("x", given)]), [raw(wanted)], text=(), source="a.parquet")


@pytest.mark.parametrize(
    ("values", "given", "wanted", "bad"),
    [
        ([1, 300, None], pa.int64(), pa.int8(), {1: "is 300, not a whole number in the range of int8"}),
        ([1, 2**53 + 1], pa.int64(), pa.float64(), {1: "is 9007199254740993, not a number"}),
        (
            [1000, 1500],
            pa.timestamp("ns"),
            pa.timestamp("us"),
            {1: "is 1970-01-01 00:00:00.000001500, not"},
        ),
        (
            [Decimal("1.25"), Decimal("1.255")],
            pa.decimal128(10, 3),
            pa.decimal128(10, 2),
            {1: "is 1.255, not a number that fits decimal128(10, 2)"},
        ),
        ([[1], [300]], pa.list_(pa.int64()), pa.list_(pa.int8()), {1: "is [300], not list<item: int8>"}),
    ],
)
def test_values_that_do_not_fit(
    values: list[Any], given: pa.DataType, wanted: pa.DataType, bad: dict[int, str]
) -> None:
    """Casts are exact: a value that the recorded type does not have rejects its row alone."""
    batch = pa.record_batch({"x": pa.array(values, given)})
    checked = check_batch(batch, [raw(wanted)])
    found = {int(row): text for one in checked.rejects for row, text in zip(one.positions, one.reasons, strict=True)}
    assert found.keys() == bad.keys()
    assert all(found[row].startswith(text) for row, text in bad.items())
    assert checked.columns["x"].type.equals(wanted)
    assert len(checked.columns["x"]) == len(values) - len(bad)


LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]
numbers = st.lists(st.none() | st.lists(st.none() | st.integers(-128, 128), max_size=3), max_size=3)


@settings(max_examples=60)
@given(st.lists(st.none() | numbers), st.integers(0, 3), st.sampled_from(LISTS), st.sampled_from(LISTS))
def test_lists_in_any_layout(rows: list[Any], start: int, outer: Any, inner: Any) -> None:
    """Also within lists and structs, and of slices, compared with Python's lists; 128 does not fit int8."""
    lists = pa.array(rows, outer(inner(pa.int16())))
    fits = ["128" not in str(row).replace("-128", "") for row in rows[start:]]
    for wanted, kept in ((pa.int16(), [True] * len(fits)), (pa.int8(), fits)):
        feature = raw(pa.struct([("l", pa.list_(pa.list_(wanted)))]))
        column = pa.StructArray.from_arrays([lists], ["l"]).slice(start)
        checked = check_batch(pa.record_batch({"x": column}), [feature])
        checked.columns["x"].validate(full=True)
        assert checked.columns["x"].type.equals(pa.struct([("l", pa.list_(pa.list_(wanted)))]))
        left = [row for row, fine in zip(rows[start:], kept, strict=True) if fine]
        assert checked.columns["x"].to_pylist() == [{"l": row} for row in left]


TIMES = pa.array([0, -5, 1, 86_400_000_000], pa.int64()).view(pa.time64("us"))


@pytest.mark.parametrize(
    "array",
    [
        TIMES,
        TIMES.cast(pa.time64("ns")),
        pa.StructArray.from_arrays([TIMES], ["t"]),
        pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 4]), TIMES),
        pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 4]), pa.StructArray.from_arrays([TIMES], ["t"])),
    ],
    ids=lambda array: str(array.type),
)
def test_times_outside_of_a_day(array: pa.Array) -> None:
    """DuckDB fails on them for good, so they are rejected before."""
    for column, rows in ((array, [1, 3]), (array.slice(1), [0, 2])):
        checked = check_batch(pa.record_batch({"x": column}), [raw(array.type)])
        (reject,) = checked.rejects
        assert reject.positions.tolist() == rows
        assert set(reject.reasons) == {"holds a time that is not within a day"}
        assert len(checked.columns["x"]) == len(column) - 2


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (pa.timestamp("s"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("ns")),
        (pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
        (pa.date64(), pa.date32()),
    ],
)
def test_dates_that_python_does_not_have(given: pa.DataType, wanted: pa.DataType) -> None:
    """A date after the year 9999 that does not fit is rejected like others."""
    cells = pa.array([0, 10**18 + 1]).view(given)
    (reject,) = check_batch(pa.record_batch({"x": cells}), [raw(wanted)]).rejects
    assert reject.positions.tolist() == [1]
    assert reject.reasons[0].startswith("is a date outside the years 1 to 9999, not a ")


@pytest.mark.parametrize(
    ("cells", "wanted", "values"),
    [
        (["1", " 2 ", "", "x"], pa.int64(), [1, 2, None]),
        (["10", "0x10", "0XFF", "0xFFFFFFFFFFFFFFFF"], pa.int64(), [10]),
        (["1,5", "1.5", "2"], pa.float64(), [1.5, 2.0]),
        (["true", "false", "yes"], pa.bool_(), [True, False]),
        (["2024-01-31", "31.01.2024"], pa.date32(), [date(2024, 1, 31)]),
        (["12:30:00", " 12:30 ", "noon", "12", ""], pa.time64("us"), [time(12, 30), time(12, 30), None]),
        (["2024-01-31 12:00:00", "2024-01-31T12:00:00Z", "?"], pa.timestamp("us"), [datetime(2024, 1, 31, 12)]),
        (
            ["2024-01-31 12:00:00", "2024-01-31T12:00:00+01:00"],
            pa.timestamp("us", "UTC"),
            [datetime(2024, 1, 31, 11, tzinfo=UTC)],
        ),
        (["1,25", "1,255"], pa.decimal128(10, 2), [Decimal("1.25")]),
        (["a", " b ", ""], pa.string(), ["a", " b ", None]),
    ],
)
def test_cells_of_a_csv(cells: list[str], wanted: pa.DataType, values: list[Any]) -> None:
    """Text is parsed as the recorded type; a cell that cannot be parsed rejects its row, and an empty one is null."""
    dialect = CsvDialect(decimal=",")
    checked = check_batch(pa.record_batch({"x": cells}), [raw(wanted)], text={"x"}, dialect=dialect)
    assert checked.columns["x"].to_pylist() == values
    reasons = [text for one in checked.rejects for text in one.reasons]
    assert len(reasons) == len(cells) - len(values)
    assert all(text.startswith("is '") for text in reasons)


@pytest.mark.parametrize("wanted", [pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.binary()])
def test_types_that_a_csv_cannot_contain(wanted: pa.DataType) -> None:
    """Lists, structs and bytes."""
    with pytest.raises(ColumnError, match="use Parquet"):
        check_columns(pa.schema([("x", pa.string())]), [raw(wanted)], text={"x"}, source="a.csv")
