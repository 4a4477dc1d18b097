"""Evaluation by DuckDB: equal to DuckDB over the whole table and to pandas, whatever the blocks; rows that raise."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from threading import Timer
from threading import enumerate as enumerate_threads
from time import sleep
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

duckdb = pytest.importorskip("duckdb")

from scoreline.pipeline.errors import BundleError, DataError  # noqa: E402
from scoreline.pipeline.features.expressions import engine as engines  # noqa: E402
from scoreline.pipeline.features.expressions.duckdb_connection import connect  # noqa: E402
from scoreline.pipeline.features.expressions.engine import Engine, Evaluated  # noqa: E402
from scoreline.pipeline.inputs.check import check_batch  # noqa: E402
from scoreline.pipeline.nested import equal  # noqa: E402
from scoreline.pipeline.raw_types import recorded_type  # noqa: E402
from scoreline.schemas.inputs import Feature  # noqa: E402

FEATURES = {
    "hour": ("hour(ts)", lambda f: f.ts.dt.hour),
    "weekday": ("dayofweek(ts)", lambda f: (f.ts.dt.day_of_week + 1) % 7),
    "days": ("date_diff('day', d, ts::DATE)", lambda f: (f.ts.dt.normalize() - pd.to_datetime(f.d)).dt.days),
    "month": ("strftime(ts, '%Y-%m')", lambda f: f.ts.dt.strftime("%Y-%m")),
    "log": ("ln(amount + 1)", lambda f: np.log(f.amount + 1)),
    "rounded": ("round(amount)", lambda f: (f.amount + 0.5).apply(np.floor)),
    "city": ("lower(trim(city))", lambda f: f.city.str.strip().str.lower()),
    "start": ("substring(city, 2, 3)", lambda f: f.city.str[1:4]),
    "digits": ("regexp_extract(code, '([0-9]+)', 1)", lambda f: f.code.str.extract("([0-9]+)")[0].fillna("")),
    "size": (
        "CASE WHEN amount > 50 THEN 'large' ELSE 'small' END",
        lambda f: np.where(f.amount > 50, "large", "small"),
    ),
    "known": ("coalesce(maybe, -1)", lambda f: f.maybe.fillna(-1)),
    "count": ("len(items)", lambda f: f["items"].apply(len)),
    "age": ("s.age", lambda f: f.s.apply(lambda one: one["age"])),
    "positive": ("len([x for x in items if x > 1])", lambda f: f["items"].apply(lambda one: sum(x > 1 for x in one))),
}


def table(rows: int, seed: int = 0) -> pa.Table:
    """Rows with columns of many types."""
    rng = np.random.default_rng(seed)
    numbers = range(rows)
    return pa.table(
        {
            "ts": pa.array([datetime(2024, 1, 1) + timedelta(seconds=int(s)) for s in rng.integers(0, 10**8, rows)]),
            "d": pa.array([date(2020, 1, 1) + timedelta(days=int(s)) for s in rng.integers(0, 10**3, rows)]),
            "amount": rng.random(rows) * 100,
            "city": [("  Berlin", "PARIS ", "Rome")[i % 3] for i in numbers],
            "code": [("a12", "b", "7c8")[i % 3] for i in numbers],
            "maybe": pa.array([None if i % 4 == 0 else i for i in numbers], pa.int64()),
            "items": pa.array([list(range(i % 5)) for i in numbers], pa.list_(pa.int64())),
            "s": pa.array([{"age": i % 90, "name": "x"} for i in numbers]),
        }
    )


def engine(expressions: dict[str, str], rows: pa.Table) -> Engine:
    """An engine for the columns of a table."""
    raw = [Feature(name=f.name, dtype="raw", nulls="keep", arrow=recorded_type(f.type)) for f in rows.schema]
    return Engine(expressions, raw)


def evaluate(made: Engine, rows: pa.Table) -> Evaluated:
    """Evaluate a table as one block."""
    columns = {name: rows.column(name).combine_chunks() for name in rows.schema.names}
    return made.evaluate(columns, rows.num_rows)


def test_equals_duckdb() -> None:
    """The same values as DuckDB over the whole table, bit for bit."""
    rows = table(5_000)
    found = evaluate(engine({name: sql for name, (sql, _) in FEATURES.items()}, rows), rows)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("whole", rows)
    for name, (sql, _) in FEATURES.items():
        wanted = connection.sql(f"SELECT {sql} FROM whole").to_arrow_table().column(0).combine_chunks()
        assert equal(found.columns[name], wanted), name


def test_equals_pandas() -> None:
    """The same values as the usual code in pandas."""
    rows = table(1_000)
    found = evaluate(engine({name: sql for name, (sql, _) in FEATURES.items()}, rows), rows)
    frame = rows.to_pandas()
    for name, (_, function) in FEATURES.items():
        got, wanted = found.columns[name].to_pylist(), list(function(frame))
        if isinstance(got[0], str):
            assert got == wanted, name
        else:
            np.testing.assert_allclose(got, np.array(wanted, dtype=float), rtol=1e-14, err_msg=name)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 5))
def test_blocks_make_no_difference(sizes: list[int], seed: int) -> None:
    """Blocks of any size give the values of the whole, bit for bit."""
    rows = table(sum(sizes), seed)
    made = engine({name: sql for name, (sql, _) in FEATURES.items()}, rows)
    whole, start = evaluate(made, rows), 0
    for size in sizes:
        part = evaluate(made, rows.slice(start, size))
        for name, values in part.columns.items():
            assert equal(values, whole.columns[name].slice(start, size)), name
        start += size


@pytest.mark.parametrize(
    ("sql", "values", "bad", "reason"),
    [
        ("x::INT", ["1", "a", None, "4"], [1], "Could not convert string 'a' to INT32"),
        ("strptime(x, '%Y-%m-%d')::DATE::VARCHAR", ["2024-01-31", "2024-02-31"], [1], "Date out of range"),
        ("1 % x", [1, 0, 2], [1], "Division by zero"),
        ("x * x * x", [2, 2**62, 3], [1], "Overflow"),
        ("make_date(2024, x, 1)::VARCHAR", [1, 13, 2], [1], "out of range"),
        ("json_extract_string(x, '$.a')", ['{"a": 1}', "{"], [1], "Malformed JSON"),
        ("year(x::TIMESTAMP)", ["2024-01-01", "x", "y"], [1, 2], "invalid timestamp field format"),
        ("x::DECIMAL(4, 2)", [1.5, 1e6], [1], "Could not cast"),
        ("unhex(x)::VARCHAR", ["ab", "zé", "é"], [1, 2], ""),  # the message is not UTF-8
    ],
)
def test_rows_that_raise(sql: str, values: list[Any], bad: list[int], reason: str) -> None:
    """Only the rows that raise are lost, each with its cause; the others have the values that they have alone."""
    rows = pa.table({"x": values})
    made = engine({"y": sql, "z": "x IS NULL"}, rows)
    found = evaluate(made, rows)
    assert [row for row, _ in found.problems["y"]] == bad
    assert all(reason in text and text.startswith("cannot be computed: ") for _, text in found.problems["y"])
    assert found.problems["z"] == []
    assert [value is not None for value in found.columns["z"].to_pylist()] == [True] * len(values)
    good = rows.take([row for row in range(len(values)) if row not in bad])
    alone = evaluate(made, good)
    assert equal(alone.columns["y"], found.columns["y"].take(pa.array([r for r in range(len(values)) if r not in bad])))


@pytest.mark.parametrize(
    "arrow_type", [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32(), pa.list_(pa.timestamp("us"))]
)
def test_rows_that_raise_with_dates_that_python_does_not_have(arrow_type: pa.DataType) -> None:
    """A row that raises is rejected whatever else it has: dates after the year 9999 too."""
    late = pa.array([2_000_000_000], pa.int32()).view(pa.date32())
    if pa.types.is_timestamp(arrow_type):
        late = pa.array([10**18]).view(arrow_type)
    elif pa.types.is_list(arrow_type):
        late = pa.ListArray.from_arrays([0, 1], pa.array([10**18]).view(arrow_type.value_type))
    rows = pa.table({"x": ["a", "b", "a"], "late": pa.concat_arrays([late] * 3)})
    found = evaluate(engine({"y": "x::INT + len(late::VARCHAR)"}, rows), rows)
    reasons = [reason for _, reason in found.problems["y"]]
    assert len(reasons) == 3
    assert all("Could not convert string" in reason for reason in reasons)


def test_errors_that_try_does_not_catch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DuckDB's TRY raises itself, the block is halved until the rows that raise are alone."""
    rows = pa.table({"x": [str(n) if n % 7 else "a" for n in range(100)]})
    made = engine({"y": "x::INT"}, rows)
    run = made._run

    def without_try(statement: str, block: pa.Table) -> pa.Table:
        if "TRY(" in statement and "a" in block.column("x").to_pylist():
            raise duckdb.NotImplementedException("Not implemented Error: not caught")
        return run(statement, block)

    monkeypatch.setattr(made, "_run", without_try)
    found = evaluate(made, rows)
    assert [row for row, _ in found.problems["y"]] == [n for n in range(100) if n % 7 == 0]
    assert found.columns["y"].to_pylist() == [n if n % 7 else None for n in range(100)]


def test_many_rows_that_raise() -> None:
    """5,000 of 32,768 rows raise for one of 20 causes; each cause is found once."""
    rows = pa.table({"x": [f"bad {n % 20}" if n < 5_000 else str(n) for n in range(32_768)]})
    made = engine({"y": "x::INT"}, rows)
    statements = []
    run = made._run
    made._run = lambda statement, block: statements.append(statement) or run(statement, block)  # type: ignore[method-assign,func-returns-value]
    found = evaluate(made, rows)
    assert len(found.problems["y"]) == 5_000
    assert len(statements) == 22


def test_different_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The causes of different rows are found up to a limit, so that a block of bad rows takes bounded time."""
    monkeypatch.setattr(engines, "MOST_CAUSES", 3)
    rows = pa.table({"x": ["a", "b", "a", "c", "d", "b"]})
    found = evaluate(engine({"y": "x::INT"}, rows), rows)
    reasons = [reason for _, reason in found.problems["y"]]
    assert [reason.startswith("cannot be computed: Conversion") for reason in reasons] == [True] * 4 + [False, True]
    assert reasons[4] == "cannot be computed; the cause is given for 3 different rows of a block"


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many rows that TRY does not isolate are an error."""
    monkeypatch.setattr(engines, "MOST_STATEMENTS", 10)
    rows = pa.table({"x": ["a"] * 100})
    made = engine({"y": "x::INT"}, rows)

    def fails(_statement: str, _rows: pa.Table) -> pa.Table:
        raise duckdb.NotImplementedException("Not implemented Error: not caught")

    monkeypatch.setattr(made, "_run", fails)
    with pytest.raises(DataError, match="cannot be computed for too many of 100 rows"):
        evaluate(made, rows)


def test_types_of_columns() -> None:
    """Instants, times, decimals, bytes and nested values go in; time zones are UTC."""
    rows = pa.table(
        {
            "instant": pa.array([datetime(2024, 6, 1, 23, 30)], pa.timestamp("ms", "Europe/Berlin")),
            "ns": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
            "time": pa.array([3_600], pa.time32("s")),
            "price": pa.array([Decimal("1.25")], pa.decimal128(10, 2)),
            "data": pa.array([b"abc"], pa.large_binary()),
            "tags": pa.array([["a", "b"]], pa.large_list(pa.large_string())),
            "deep": pa.array([{"inner": [{"x": 1.5}]}]),
            "word": pa.array(["x"]).dictionary_encode(),
        }
    )
    expressions = {
        "hour": "hour(instant)",
        "berlin": "hour(instant AT TIME ZONE 'Europe/Berlin')",
        "nanos": "epoch_ns(ns)",
        "clock": "hour(time)",
        "double": "price * 2",
        "bytes": "octet_length(data)",
        "tag": "tags[2]",
        "x": "deep.inner[1].x",
        "upper": "upper(word)",
    }
    found = evaluate(engine(expressions, rows), rows)
    values = {name: column[0].as_py() for name, column in found.columns.items()}
    assert values == {
        "hour": 23, "berlin": 1, "nanos": 1_700_000_000_123_456_789, "clock": 1, "double": Decimal("2.50"),
        "bytes": 3, "tag": "b", "x": 1.5, "upper": "X",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("hour(city)", "does not match its columns: Binder Error"),
        ("ts", r"returns timestamp\[us\]; features are numbers, booleans or text"),
        ("items", "returns list"),
        ("s", "returns struct"),
        ("amount, maybe", "returns struct"),
        ("now()", "'y' calls now"),
        (r"regexp_matches(city, '\pL{1000}')", "pattern too large"),
        ("regexp_replace(city, '(a{1000}){1000}', '')", "invalid repetition size"),
    ],
)
def test_refused_by_the_engine(sql: str, reason: str) -> None:
    """Expressions that do not match their columns, or whose result is not a feature."""
    with pytest.raises(BundleError, match=reason):
        engine({"y": sql}, table(3))


def test_columns_that_sql_does_not_distinguish() -> None:
    """Two columns that differ in case only."""
    rows = pa.table({"Name": ["a"], "name": ["b"]})
    assert evaluate(engine({"y": "Name"}, rows), rows).columns["y"].to_pylist() == ["a"]
    with pytest.raises(BundleError, match=r"'Name' and 'name', which SQL does not distinguish"):
        engine({"y": "Name || name"}, rows)


def test_names_that_need_quotes() -> None:
    """Columns with odd names, one of them called like the table in the statement."""
    rows = pa.table({'a "b"': [1], "rows": [2], "select": [4]})
    found = evaluate(engine({"y": '"a ""b""" + rows + "select"'}, rows), rows)
    assert found.columns["y"].to_pylist() == [7]


def test_expressions_together_are_bounded() -> None:
    """Many expressions that are allowed alone."""
    with pytest.raises(BundleError, match="together can make"):
        engine({f"y{n}": f"repeat(city, {100 - n % 10})" for n in range(100)}, table(3))


def test_bytes_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block whose values may be too large together is evaluated in parts; a row that may be too large alone is a
    problem, and the others have their values."""
    rows = pa.table({"x": ["a" * (n % 50) for n in range(300)] + ["b" * 5_000] + ["1"] * 10, "n": range(311)})
    made = engine({"y": "repeat(x, 100)", "z": "n::VARCHAR", "i": "x::INT"}, rows)
    whole = evaluate(made, rows)
    monkeypatch.setattr(engines, "MOST_BYTES", 100_000)
    found = evaluate(made, rows)
    (large,) = found.problems["y"]
    assert large[0] == 300
    assert large[1].startswith("may take 5")
    good = pa.array([n for n in range(311) if n != 300])
    for name, column in found.columns.items():
        assert equal(column.take(good), whole.columns[name].take(good))
    assert [one for one in whole.problems["i"] if one[0] != 300] == found.problems["i"]


@pytest.mark.parametrize(
    "sql",
    [
        "length(regexp_replace(x, '(a*b)?', 'y', 'g'))",
        "len(regexp_extract_all(x, '(a*b)?'))",
        "len(string_split_regex(lower(x), '(a*b)?'))",
        "length(nfc_normalize(x))",
        "list_sum([len(regexp_extract_all(e, '(a*b)?')) for e in string_split(x, ',')])",
    ],
)
def test_searches_from_every_match(sql: str) -> None:
    """Patterns whose time grows with the square of a text: rows with long texts are rejected, the others are not."""
    rows = pa.table({"x": ["a", "ab" * 100, "a" * 70_000, None, "b"]})
    found = evaluate(engine({"y": sql}, rows), rows)
    (problem,) = found.problems["y"]
    assert problem[0] == 2
    assert "again from every match; the limit is 65,536" in problem[1]
    assert [value is None for value in found.columns["y"].to_pylist()] == [False, False, True, True, False]


@pytest.mark.parametrize("layout", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
@pytest.mark.parametrize("start", [0, 1])
def test_sums_of_lists_in_any_layout(layout: Any, start: int) -> None:
    """As a file has them: DuckDB itself reads beyond the memory of large list views."""
    rows = [[9.0], [1.0, 2.0], None, [], [3.0], [4.0, 0.5]]
    raw = [Feature(name="x", dtype="raw", nulls="keep", arrow=recorded_type(pa.list_(pa.float64())))]
    made = Engine({"y": "coalesce(list_sum(x), -7)"}, raw)
    column = pa.array(rows, layout(pa.float64())).slice(start)
    checked = check_batch(pa.record_batch({"x": column}), raw)
    found = made.evaluate(checked.columns, len(column)).columns["y"].to_pylist()
    assert found == [sum(row) if row else -7 for row in rows[start:]]


class SlowTimer(Timer):
    """Ends some time after it has been cancelled."""

    def run(self) -> None:
        self.finished.wait(self.interval)
        sleep(0.05)


def test_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that still has the connection aborts a process that ends."""
    monkeypatch.setattr(engines, "Timer", SlowTimer)
    rows = pa.table({"x": ["1", "y"]})
    threads = set(enumerate_threads())
    made = engine({"a": "CAST(x AS INTEGER)"}, rows)
    assert len(evaluate(made, rows).problems["a"]) == 1
    assert set(enumerate_threads()) == threads


def test_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that takes too long is an error, not a reject: rows are not rejected by a clock."""
    monkeypatch.setattr(engines, "TIMEOUT_S", 0.01)
    rows = pa.table({"x": ["ab" * 50_000] * 500})
    made = engine({"y": "len(string_split(upper(reverse(x)), 'B'))"}, rows)
    with pytest.raises(DataError, match="took more than"):
        evaluate(made, rows)


@pytest.mark.parametrize(
    "statement",
    [
        "SET threads = 4",
        "SET enable_external_access = true",
        "SET TimeZone = 'Europe/Berlin'",
        "RESET lock_configuration",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT content FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/never-written.csv'",
        "ATTACH '/tmp/never-written.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM 'never.parquet'",
    ],
)
def test_the_connection_is_locked(statement: str) -> None:
    """Even a statement that is not judged reads no file, and changes no setting."""
    with pytest.raises(duckdb.Error):
        connect().execute(statement).fetchall()
