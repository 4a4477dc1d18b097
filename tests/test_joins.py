"""Joining labels by key: every pair of types is compared exactly or refused, as pandas does."""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.joins import Keys, comparable
from torch import nn

from conftest import Result
from scoreline import Regression, save_bundle

Command = Callable[..., Result]
DAY = dt.datetime(2026, 1, 1)
ZONED = [DAY.replace(tzinfo=dt.UTC) + dt.timedelta(days=n) for n in range(3)]
NUMBERS, DECIMALS = [1, 2, 3], [Decimal(1), Decimal(2), Decimal(3)]
WORDS, DAYS = ["1", "2", "3"], [DAY.date() + dt.timedelta(days=n) for n in range(3)]
NAIVE = [DAY + dt.timedelta(days=n) for n in range(3)]
CLOCK, SPANS = [dt.time(n) for n in range(3)], [dt.timedelta(seconds=n) for n in range(3)]
#: A type, three keys of that type, and the group of types that can be joined.
TYPES: list[tuple[pa.DataType, list[Any], str]] = [
    (pa.int8(), NUMBERS, "number"),
    (pa.int64(), NUMBERS, "number"),
    (pa.uint64(), NUMBERS, "number"),
    (pa.float32(), NUMBERS, "number float"),
    (pa.float64(), NUMBERS, "number float"),
    (pa.decimal128(10, 2), DECIMALS, "number decimal"),
    (pa.decimal256(60, 4), DECIMALS, "number decimal"),
    (pa.bool_(), [True, False], "truth"),
    (pa.string(), WORDS, "text"),
    (pa.string_view(), WORDS, "text"),
    (pa.dictionary(pa.int32(), pa.large_string()), WORDS, "text"),
    (pa.binary(), [b"1", b"2", b"3"], "bytes"),
    (pa.binary(1), [b"1", b"2", b"3"], "bytes"),
    (pa.date32(), DAYS, "date"),
    (pa.date64(), DAYS, "date"),
    (pa.timestamp("s"), NAIVE, "naive"),
    (pa.timestamp("ns"), NAIVE, "naive"),
    (pa.timestamp("us", "UTC"), ZONED, "zoned"),
    (pa.timestamp("ms", "Europe/Berlin"), ZONED, "zoned"),
    (pa.time32("s"), CLOCK, "clock"),
    (pa.time64("ns"), CLOCK, "clock"),
    (pa.duration("s"), SPANS, "span"),
    (pa.duration("ns"), SPANS, "span"),
    (pa.list_(pa.int64()), [[1], [2], [3]], "list"),
]


def join(one: str, other: str) -> bool:
    """Whether keys of these groups can be joined."""
    if {"float", "decimal"} <= {*one.split(), *other.split()} or "list" in (one, other):
        return False
    return one.split()[0] == other.split()[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression that predicts 0 for every row."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.zero_(), model.bias.zero_()  # type: ignore[func-returns-value]
    folder = tmp_path_factory.mktemp("joins") / "b"
    save_bundle(folder, model, features=["x"], task=Regression(), sample=np.ones((4, 1)))
    return folder


@pytest.fixture(scope="module")
def outputs(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with a key column of each type (k0, k1 …), and a row without keys."""
    from scoreline.jobs import cli

    folder = tmp_path_factory.mktemp("outputs")
    keys = {
        f"k{n}": pa.array([*values, *[None] * (4 - len(values))], arrow_type)
        for n, (arrow_type, values, _) in enumerate(TYPES)
    }
    pq.write_table(pa.table({"x": [1.0] * 4, **keys}), folder / "in.parquet")
    words = ["score", "--bundle", bundle, "--input", folder / "in.parquet", "--output", folder / "out"]
    assert cli.run([str(word) for word in words]) == 0
    return folder / "out"


@pytest.mark.parametrize("left", range(len(TYPES)), ids=lambda n: str(TYPES[n][0]))
def test_every_pair_of_types(outputs: Path, tmp_path: Path, scoreline: Command, left: int) -> None:
    """All rows are joined, or the error names both columns, both types and what to do."""
    for right, values, group in TYPES:
        y = [float(n) for n in range(len(values))]
        pq.write_table(pa.table({f"k{left}": pa.array(values[::-1], right), "y": y[::-1]}), tmp_path / "y.parquet")
        words = ["--label", "y", "--labels", tmp_path / "y.parquet", "--on", f"k{left}", "--json"]
        result = scoreline("evaluate", outputs, *words)
        if join(TYPES[left][2], group):
            assert result.code == 0, result.err
            assert f'"rows": {len(values)}' in result.out
        else:
            assert result.code == 65, (TYPES[left][0], right, result.out)
            schemas = [pq.read_schema(f) for f in (outputs / "in.parquet", tmp_path / "y.parquet")]
            left_type, right_type = (schema.field(f"k{left}").type for schema in schemas)
            expected = [f"key 'k{left}' of in.parquet ({left_type})", f"y.parquet ({right_type})", "cast one"]
            if "list" in (group, TYPES[left][2]):
                expected = ["(list<", "is nested; only numbers, text, bytes, dates and times can be joined"]
            assert [part for part in expected if part not in result.message] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.Series(NAIVE), pd.Series(NAIVE).dt.tz_localize("UTC")),
        (pd.Series(WORDS), pd.Series(NUMBERS)),
        (pd.Series(WORDS), pd.Series(NUMBERS).astype(float)),
        (pd.Series(WORDS), pd.Series(NAIVE)),
        (pd.Series(NUMBERS), pd.Series(NAIVE)),
        (pd.Series(NAIVE), pd.Series(DAYS, dtype=object)),
        (pd.Series(NUMBERS), pd.Series(NUMBERS).astype(float)),
        (pd.Series(NUMBERS), pd.Series(NUMBERS, dtype="uint64")),
        (pd.Series(NAIVE).astype("datetime64[s]"), pd.Series(NAIVE).astype("datetime64[ns]")),
        (pd.Series(NAIVE).dt.tz_localize("UTC"), pd.Series(NAIVE).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    ],
)
def test_pandas_refuses_and_joins_the_same(one: "pd.Series[Any]", other: "pd.Series[Any]") -> None:
    """The same pairs as `merge` are joined, and the same are refused."""
    sides = [Keys(column=pa.array(side, from_pandas=True), name="k", where="f") for side in (one, other)]
    try:
        merged = pd.merge(one.to_frame("k"), other.to_frame("k"), on="k")
    except ValueError:
        with pytest.raises(DataError, match="cannot be compared exactly"):
            comparable(*sides)
        return
    left, right = comparable(*sides)
    assert len(merged) == len(set(left.to_pylist()) & set(right.to_pylist()))


INTEGERS = st.one_of(
    st.integers(-3, 3), st.integers(2**53 - 2, 2**53 + 2), st.integers(2**63 - 2, 2**63 + 1), st.just(-(2**63))
)
FLOATS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1.5, -3.0, 2.0**24 - 1]), st.floats(-5, 5, width=32))
SCALED = st.decimals(-3, 3, places=2)


def keys_of_type(
    values: st.SearchStrategy[Any], arrow_type: pa.DataType
) -> st.SearchStrategy[tuple[pa.DataType, list[Any]]]:
    """Keys of a type, some of them null."""
    low, high = (0, 2**64) if arrow_type == pa.uint64() else (-(2**63), 2**63)
    if pa.types.is_integer(arrow_type):
        values = values.filter(lambda value: low <= value < high)
    return st.lists(st.none() | values, max_size=12).map(lambda listed: (arrow_type, listed))


COLUMNS = st.one_of(
    keys_of_type(INTEGERS, pa.int64()),
    keys_of_type(INTEGERS, pa.uint64()),
    keys_of_type(FLOATS, pa.float64()),
    keys_of_type(FLOATS, pa.float32()),
    keys_of_type(SCALED, pa.decimal128(5, 2)),
    keys_of_type(SCALED, pa.decimal256(60, 20)),
)


@given(COLUMNS, COLUMNS)
def test_numbers_are_equal_where_their_values_are(one: tuple[pa.DataType, list[Any]], other: Any) -> None:
    """As in Python, which compares numbers of different types exactly."""
    left, right = (pa.array(values, arrow_type) for arrow_type, values in (one, other))
    try:
        found = comparable(Keys(column=left, name="k", where="l"), Keys(column=right, name="k", where="r"))
    except DataError:
        assert pa.types.is_decimal(left.type) != pa.types.is_decimal(right.type)
        assert pa.types.is_floating(left.type) or pa.types.is_floating(right.type)
        return
    for (at, mine), (index, theirs) in product(enumerate(left.to_pylist()), enumerate(right.to_pylist())):
        equal = found[0][at].is_valid and found[0][at].as_py() == found[1][index].as_py()
        assert equal == (mine is not None and theirs is not None and mine == theirs), (mine, theirs)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9))
def test_times_of_different_units(seconds: list[int], nanoseconds: list[int]) -> None:
    """Also those that are out of range for one of the units."""
    nanoseconds = [*nanoseconds, *(value * 10**9 for value in seconds if abs(value) < 9 * 10**9)]
    left, right = pa.array(seconds, pa.timestamp("s", "UTC")), pa.array(nanoseconds, pa.timestamp("ns", "Asia/Tokyo"))
    found = comparable(Keys(column=left, name="k", where="l"), Keys(column=right, name="k", where="r"))
    for (at, mine), (index, theirs) in product(enumerate(seconds), enumerate(nanoseconds)):
        equal = found[0][at].is_valid and found[0][at].as_py() == found[1][index].as_py()
        assert equal == (mine * 10**9 == theirs)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.array([2**53, 2**53 + 1]), pa.array([2.0**53])),
        (pa.array([2.0**53]), pa.array([2**53 + 1])),
        (pa.array([1], pa.uint64()), pa.array([-1e300])),
        (pa.array([2**24 + 1]), pa.array([2.0**24 + 1], pa.float32())),
        (pa.array([2049]), pa.array([2049], pa.float16())),
    ],
)
def test_floats_that_may_be_several_integers(left: pa.Array, right: pa.Array) -> None:
    """pandas and DuckDB treat 2^53 + 1 as equal to 2^53.0; here they are refused."""
    with pytest.raises(DataError, match="a float so large that it may be any of several integers"):
        comparable(Keys(column=left, name="k", where="l"), Keys(column=right, name="k", where="r"))


@pytest.mark.parametrize(
    ("left", "right", "indices"),
    [
        (pa.array([0, -1, 5, None]), pa.array([0, 5], pa.uint64()), [0, None, 1, None]),
        (pa.array([-0.0, np.nan, 1.5]), pa.array([0.0, np.nan, 1.5]), [0, None, 2]),
        (pa.array([-5, 0], pa.duration("s")), pa.array([0, -5 * 10**9], pa.duration("ns")), [1, 0]),
    ],
    ids=["signed and unsigned", "zeros and NaN", "before zero"],
)
def test_keys_around_zero(left: pa.Array, right: pa.Array, indices: list[int | None]) -> None:
    """Equal as numbers are; a row without a key, or with NaN, is never found."""
    one, other = comparable(Keys(column=left, name="k", where="l"), Keys(column=right, name="k", where="r"))
    assert pc.index_in(one, value_set=other, skip_nulls=True).to_pylist() == indices


def cells() -> Iterator[Any]:
    """Types, and CSV cells with the key that they equal; None: refused."""
    zoned = pa.timestamp("us", "UTC")
    yield from [
        (pa.int64(), "9007199254740993", 9007199254740993),
        (pa.int64(), "007", 7),
        (pa.int64(), "", "null"),
        (pa.int64(), "7.5", None),
        (pa.float64(), "0.1", 0.1),
        (pa.float64(), "1e17", 1e17),
        (pa.float32(), "16777217", None),
        (pa.float32(), "16777216", 16777216.0),
        (pa.float64(), "9007199254740993", None),
        (pa.decimal128(20, 2), "1.50", Decimal("1.50")),
        (pa.decimal128(20, 2), "1.005", None),
        (pa.string(), "007", "007"),
        (pa.string(), " a", " a"),
        (pa.date32(), "2026-01-01", DAY.date()),
        (pa.timestamp("us"), "2026-01-01 00:00:00", DAY),
        (pa.timestamp("us"), "2026-01-01 00:00:00Z", None),
        (pa.timestamp("us"), "2026-01-01 00:00:00.0000001", None),
        (zoned, "2026-01-01T02:00:00+02:00", DAY.replace(tzinfo=dt.UTC)),
        (zoned, "2026-01-01 00:00:00", None),
        (pa.bool_(), "true", True),
        (pa.time64("us"), "12:00:00", None),
        (pa.duration("s"), "1", None),
    ]


@pytest.mark.parametrize(("arrow_type", "cell", "key"), list(cells()))
def test_cells_of_a_csv_are_read_in_the_type_of_the_other_side(arrow_type: pa.DataType, cell: str, key: Any) -> None:
    """On either side: a label file, or an output that was scored from CSV."""
    typed = Keys(column=pa.array([None if key in (None, "null") else key], arrow_type), name="k", where="l")
    untyped = Keys(column=pa.array([cell]), name="k", where="r.csv", untyped=True)
    for order in (1, -1):
        if key is None:
            with pytest.raises(DataError, match=r"r\.csv"):
                comparable(*[typed, untyped][::order])
            continue
        one, other = comparable(*[typed, untyped][::order])
        assert one.equals(other)
        assert one[0].is_valid == (key != "null")


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("labels", ["parquet", "csv"])
def test_integers_above_2_53_join_in_every_file_format(
    bundle: Path, tmp_path: Path, scoreline: Command, suffix: str, labels: str
) -> None:
    """Neighbouring integers above 2^53 are distinct, in Parquet and CSV."""
    ids = [2**53, 2**53 + 1, 2**53 + 2, 7]
    scored = pd.DataFrame({"x": 1.0, "id": ids})
    truth = pd.DataFrame({"id": ids[::-1], "y": [7.0, 2.0, 1.0, 0.0]})
    for frame, name, kind in ((scored, "in", suffix), (truth, "y", labels)):
        file = tmp_path / f"{name}.{kind}"
        frame.to_parquet(file, index=False) if kind == "parquet" else frame.to_csv(file, index=False)
    words = ["--input", tmp_path / f"in.{suffix}", "--output", tmp_path / "out"]
    assert scoreline("score", "--bundle", bundle, *words).code == 0
    found = scoreline("evaluate", tmp_path / "out", "--label", "y", "--labels", tmp_path / f"y.{labels}", "--on", "id")
    assert found.code == 0, found.err
    assert "4 rows" in found.out
    assert "2.5" in found.out  # the mean of the true values, since predictions are 0


def test_a_key_from_the_path(bundle: Path, tmp_path: Path, scoreline: Command) -> None:
    """It is read in the type of the label file's key."""
    for shop in (7, 8):
        (tmp_path / "in" / f"shop={shop}").mkdir(parents=True)
        pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "in" / f"shop={shop}" / "a.parquet")
    words = ["--input", tmp_path / "in", "--output", tmp_path / "out"]
    assert scoreline("score", "--bundle", bundle, *words).code == 0
    pq.write_table(pa.table({"shop": [8, 7], "y": [4.0, 0.0]}), tmp_path / "y.parquet")
    words = ["--label", "y", "--labels", tmp_path / "y.parquet", "--on", "shop"]
    found = scoreline("evaluate", tmp_path / "out", *words)
    assert "4 rows" in found.out, found.err
    by_path = scoreline("evaluate", tmp_path / "out", "--label", "shop")
    assert "7.5" in by_path.out, by_path.err
    there = scoreline("evaluate", tmp_path / "out", "--label", "town").message
    assert "its keys are shop" in there


def test_invalid_label_files_are_refused(bundle: Path, outputs: Path, tmp_path: Path, scoreline: Command) -> None:
    """A folder, a pipe, a missing file, broken bytes, names that are not UTF-8: a one-line error, without waiting."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "latin.csv").write_bytes(b"k0,y\n1,\xe9\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    missing = [str(tmp_path), str(tmp_path / "pipe.csv"), str(tmp_path / "gone.csv"), "a\0b.csv", "x" * 5000]
    broken = [str(tmp_path / "latin.csv"), str(tmp_path / "broken.parquet")]
    for code, names in ((66, missing), (65, broken)):
        for name in names:
            done = scoreline("evaluate", outputs, "--label", "y", "--labels", name, "--on", "k0")
            assert (done.code, "label file" in done.message) == (code, True), (name, done.err)
    assert scoreline("evaluate", outputs, "--label", "y", "--labels", f"{tmp_path}/\udce9.csv", "--on", "k0").code == 2
