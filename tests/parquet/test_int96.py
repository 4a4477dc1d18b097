"""INT96 timestamps, as Spark, Hive and Impala write them: values are read exactly, or the file is refused."""

import datetime as dt
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scoreline.pipeline.parquet.file import ParquetSource

from conftest import Example, Result

Command = Callable[..., Result]
#: Of 9999-12-31.
JULIAN_DAY_9999 = dt.date(9999, 12, 31).toordinal() + 1_721_425
US, NS = pa.timestamp("us"), pa.timestamp("ns")
FAR = [dt.datetime(9999, 12, 31), dt.datetime(1, 1, 1), None, dt.datetime(2020, 2, 29, 1, 2, 3, 4)]
#: Shapes of columns, with functions of the type and of a value; only the timestamps are INT96.
SHAPES: dict[str, tuple[Callable[[pa.DataType], pa.DataType], Callable[[Any], Any]]] = {
    "flat": (lambda t: t, lambda v: v),
    "list": (pa.list_, lambda v: [v, None, v]),
    "struct": (lambda t: pa.struct([("note", pa.string()), ("at", t)]), lambda v: {"note": "x", "at": v}),
    "map": (lambda t: pa.map_(pa.string(), t), lambda v: [("a", v), ("b", None)]),
    "list of structs": (lambda t: pa.list_(pa.struct([("at", t)])), lambda v: [{"at": v}, None]),
    "struct of lists": (lambda t: pa.struct([("all", pa.list_(t))]), lambda v: {"all": [v]}),
}


def shaped(shape: str, values: list[Any], unit: pa.DataType) -> pa.Array:
    """The values in a shape, followed by a null row."""
    kind, make = SHAPES[shape]
    return pa.array([*(make(value) for value in values), None], kind(unit))


def write(path: Path, table: pa.Table) -> None:
    """Write a file with several row groups."""
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False, row_group_size=3)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_outside_nanoseconds(tmp_path: Path, shape: str) -> None:
    """They are read as microseconds, in every shape; another column keeps its nanoseconds."""
    far, fine = shaped(shape, FAR, US), shaped(shape, [1_577_836_800_000_000_001, None, -7, 2**63 - 1], NS)
    table = pa.table({"far": far, "n": range(5), "fine": fine, "far.fine": fine})
    write(tmp_path / "in.parquet", table)
    with ParquetSource(tmp_path / "in.parquet", name="in.parquet") as source:
        found = source.read()
        assert source.read(["fine"]).to_pydict() == table.select(["fine"]).to_pydict()
        assert source.schema(["n"]).names == table.schema.names
    for name in table.column_names:
        assert found[name].combine_chunks().to_pylist() == table[name].combine_chunks().to_pylist()
        assert str(found.schema.field(name).type).replace(" ('fine')", "").replace(" ('far')", "").count("[us]") == (
            name == "far"
        )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.none() | st.datetimes(), min_size=1, max_size=12),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=12, max_size=12),
)
def test_any_timestamps(tmp_path: Path, far: list[Any], fine: list[Any]) -> None:
    """The full range of Python's dates and of 64 bits of nanoseconds, including both ends."""
    fine = fine[: len(far)]
    table = pa.table({"far": pa.array(far, US), "fine": pa.array(fine, pa.int64()).cast(NS)})
    write(tmp_path / "in.parquet", table)
    with ParquetSource(tmp_path / "in.parquet", name="in.parquet") as source:
        found = source.read()
    assert found["fine"].combine_chunks().cast(pa.int64()).to_pylist() == fine
    microseconds = found["far"].combine_chunks()
    assert microseconds.cast(US).to_pylist() == far


@pytest.fixture
def data(tmp_path: Path, iris: Example) -> Path:
    """Rows with INT96 keys, one of them outside the range of nanoseconds."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    days = [dt.datetime(9999, 12, 31) - dt.timedelta(days=n) for n in range(len(table))]
    fine = pa.array(range(len(table)), pa.int64()).cast(NS)
    table = table.append_column("valid_to", pa.array(days, US)).append_column("seen", fine)
    table = table.append_column("changes", pa.array([[day] for day in days], pa.list_(US)))
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "in.parquet", use_deprecated_int96_timestamps=True, row_group_size=40)
    return tmp_path / "data" / "in.parquet"


def test_every_command(scoreline: Command, tmp_path: Path, iris: Example, data: Path) -> None:
    """Keys of a run, `check`, `verify`, and the keys by which `evaluate` joins labels."""
    words = ["--bundle", iris.bundle, "--input", data]
    assert scoreline("score", *words, "--output", tmp_path / "out", "--split-rows", "60").code == 0
    found = pa.concat_tables([pq.read_table(part) for part in sorted((tmp_path / "out").glob("*.parquet"))])
    assert found.schema.field("seen").type == NS
    assert found["seen"].cast(pa.int64()).to_pylist() == list(range(150))
    assert [found["valid_to"][n].as_py() for n in (0, 149)] == [dt.datetime(9999, 12, 31), dt.datetime(9999, 8, 4)]
    assert found["changes"].to_pylist() == [[day] for day in found["valid_to"].to_pylist()]
    assert scoreline("check", *words).code == 0
    assert scoreline("verify", tmp_path / "out").code == 0
    labels = pa.table({"valid_to": found["valid_to"], "right": pa.array(iris.frame["truth"])})
    pq.write_table(labels, tmp_path / "labels.parquet", use_deprecated_int96_timestamps=True)
    result = scoreline(
        "evaluate", tmp_path / "out", "--label", "right", "--labels", tmp_path / "labels.parquet", "--on", "valid_to"
    )
    assert result.code == 0, result.err
    assert "150" in result.out


def test_verify_detects_a_changed_key(scoreline: Command, tmp_path: Path, iris: Example, data: Path) -> None:
    """A difference of one second in a year outside the range of nanoseconds."""
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out"]
    table = pq.read_table(data, coerce_int96_timestamp_unit="us")
    options = {"use_deprecated_int96_timestamps": True, "use_dictionary": False, "compression": "none"}
    pq.write_table(table, data, **options)
    about = data.stat()
    assert scoreline(*words).code == 0
    moved = table["valid_to"].cast(pa.int64()).to_pylist()
    moved[70] += 1_000_000
    column = table.schema.get_field_index("valid_to")
    pq.write_table(table.set_column(column, "valid_to", pa.array(moved, pa.int64()).cast(US)), data, **options)
    assert data.stat().st_size == about.st_size
    os.utime(data, ns=(about.st_atime_ns, about.st_mtime_ns))
    result = scoreline("verify", tmp_path / "out")
    assert result.code == 65
    assert "the keys are not those of in.parquet" in result.out + result.err


@pytest.mark.parametrize("value", [struct.pack("<q", 1001), struct.pack("<qi", 0, 2**31 - 1)], ids=["digits", "year"])
def test_values_that_no_type_can_represent(scoreline: Command, tmp_path: Path, iris: Example, value: bytes) -> None:
    """The year 9999 next to a single nanosecond, or a year of seven digits: the column is refused, or ignored if it is
    not read."""
    file = tmp_path / "in.parquet"
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    table = table.append_column("at", pa.array([dt.datetime(9999, 12, 31)] * len(table), US))
    pq.write_table(
        table, file, use_deprecated_int96_timestamps=True, use_dictionary=False, compression="none", row_group_size=50
    )
    day = struct.pack("<qi", 0, JULIAN_DAY_9999)
    whole = file.read_bytes()
    assert whole.count(day) == 150
    at = whole.rindex(day)
    file.write_bytes(whole[:at] + value + whole[at + len(value) :])
    words = ["score", "--bundle", iris.bundle, "--input", file, "--output", tmp_path / "out"]
    result = scoreline(*words)
    assert result.code == 65
    assert "in.parquet: column 'at' has INT96 timestamps outside 1677–2262" in result.message
    assert scoreline(*words, "--keys", "row_id").code == 0
