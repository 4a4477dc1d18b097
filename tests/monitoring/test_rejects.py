"""Reading rejected rows: the first ones, their counts, and all of them as CSV, compared with the rows of the input."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import DataError, NoInputError, StorageError
from scoreline.pipeline.monitoring.rejects import _without_values, read_rejects, write_rejects
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest, read_record, write_manifest

from conftest import Example, Result

Command = Callable[..., Result]


@pytest.fixture
def out(score: Command, iris: Example, tmp_path: Path) -> Path:
    """Two files in several splits: a CSV with text in place of numbers, a Parquet file with nulls and an infinity."""
    (tmp_path / "data").mkdir()
    first, second, *_ = iris.features
    frame = iris.frame.assign(note=[None if n % 2 else f'a "{n}",\nb' for n in range(150)])
    cells = frame.assign(**{first: frame[first].astype(str)})
    cells.loc[[3, 90], first] = ["abc", "x, y"]
    cells.to_csv(tmp_path / "data" / "a.csv", index=False)
    frame.loc[[5, 6, 120], second] = np.nan
    frame.loc[7, first] = np.inf
    tags = pa.array([[n, None] for n in range(150)])
    pq.write_table(pa.Table.from_pandas(frame).append_column("tags", tags), tmp_path / "data" / "b.parquet")
    assert score(tmp_path / "data", "--split-rows", "40", "--max-rejects", "10").code == 0
    return tmp_path / "out"


def test_counts_and_first_rows(out: Path, iris: Example) -> None:
    """Reasons are counted without the values in them; rows come by input and number."""
    first, second, *_ = iris.features
    found = read_rejects(str(out), limit=3)
    assert (found.unfinished, found.rows_in, found.rows_rejected) == (None, 300, 6)
    assert [(one.stage, one.column, one.reason, one.rows, one.inputs) for one in found.groups] == [
        ("check", second, "is null", 3, 1),
        ("check", first, "is …, not a number", 2, 1),
        ("check", first, "is infinite", 1, 1),
    ]
    examples = [[(row.source, row.row, row.value) for row in one.examples] for one in found.groups]
    assert examples == [
        [("b.parquet", 5, ""), ("b.parquet", 6, "")],
        [("a.csv", 3, "abc"), ("a.csv", 90, "x, y")],
        [("b.parquet", 7, "inf")],
    ]
    assert found.by_source == (("b.parquet", 4), ("a.csv", 2))
    assert [(row.source, row.row, row.column, row.value) for row in found.first] == [
        ("a.csv", 3, first, "abc"), ("a.csv", 90, first, "x, y"), ("b.parquet", 5, second, ""),
    ]  # fmt: skip
    assert found.first[0].reason == "is 'abc', not a number"


def test_all_rows_as_csv(out: Path, tmp_path: Path) -> None:
    """Every rejected row with its place, its reason, and the cells of the input; columns of one input are empty in
    rows of the other."""
    assert write_rejects(str(out), tmp_path / "r.csv") == 6
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["reject.source"], int(row["reject.row_number"])) for row in rows] == [
        ("a.csv", 3), ("a.csv", 90), ("b.parquet", 5), ("b.parquet", 6), ("b.parquet", 7), ("b.parquet", 120),
    ]  # fmt: skip
    inputs = {
        "a.csv": pd.read_csv(tmp_path / "data" / "a.csv", dtype=str, keep_default_na=False),
        "b.parquet": pd.read_parquet(tmp_path / "data" / "b.parquet"),
    }
    for row in rows:
        source = inputs[row["reject.source"]].iloc[int(row["reject.row_number"])]
        for name in ("row_id", "note", "truth"):
            assert row[name] == ("" if source[name] is None or pd.isna(source[name]) else str(source[name])), name
        tags = json.loads(row["tags"]) if row["tags"] else None
        assert tags == ([int(row["reject.row_number"]), None] if "tags" in source else None)


def test_a_ragged_row(score: Command, iris: Example, tmp_path: Path) -> None:
    """Its reason is grouped without its cells."""
    lines = iris.frame.to_csv(index=False).splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*lines[:9], "1,2", *lines[9:20], "3,4", *lines[20:]]))
    assert score(tmp_path / "a.csv", "--max-rejects", "2").code == 0
    (group,) = read_rejects(str(tmp_path / "out"), limit=0).groups
    assert (group.stage, group.reason, group.rows) == ("read", "has 2 cells, but the header has 6", 2)


def test_rows_with_stray_quotes_have_one_reason(score: Command, iris: Example, tmp_path: Path) -> None:
    """Their text is not part of it, with and without a hint."""
    names = ",".join([*iris.features, "note"])
    for name, quoted in (("text", '"a{0}"b'), ("hint", '"a\\"{0}"')):
        rows = [",".join(["1"] * len(iris.features) + [quoted.format(number)]) for number in range(50)]
        (tmp_path / f"{name}.csv").write_text("\n".join([names, *rows, ""]))
        done = score(tmp_path / f"{name}.csv", "--max-rejects", "100%", "--force")
        assert done.code == 0, done.err
        groups = read_rejects(str(tmp_path / "out"), limit=0).groups
        assert [group.rows for group in groups] == [50]
        assert groups[0].reason.startswith("has text after a closing quote")
        assert [example.row for example in groups[0].examples] == [0, 1]


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        ("is '1,5', not a number", "is …, not a number"),
        ("step 17 is 'a: b', not a number", "step … is …, not a number"),
        ("step 3 is null", "step … is null"),
        ("has 2 cells, but the header has 6: a,b", "has 2 cells, but the header has 6"),
        ("has 300 steps, but the bundle takes at most 64", "has … steps, but the bundle takes at most 64"),
        ("has 1,300 bytes of text, but at most 9 are encoded", "has … bytes of text, but at most 9 are encoded"),
        ("cannot be computed: no number: 'x', an error", "cannot be computed: no number: '…', an error"),
        ("has a value outside the embedding's range 0–3", "has a value outside the embedding's range 0–3"),
        ("the model fails: index 7 is out of range", "the model fails: index 7 is out of range"),
    ],
)
def test_reasons_without_the_values_of_a_row(reason: str, group: str) -> None:
    """What does not depend on the row stays."""
    assert _without_values(reason) == group


def test_a_run_that_rejected_too_many(score: Command, four_files: Path, tmp_path: Path) -> None:
    """The rejects of the splits that were published, and why the run ended."""
    assert score(four_files, "--max-rejects", "1").code == 65
    found = read_rejects(str(tmp_path / "out"), limit=10)
    assert found.unfinished is not None
    assert "2 rows rejected, 1 allowed" in found.unfinished
    assert found.rows_rejected == len(found.first) <= 2


def test_values_that_python_has_no_type_for(score: Command, iris: Example, tmp_path: Path) -> None:
    """Dates beyond its years, nanoseconds of a time, unknown time zones, also in lists: written as text."""
    frame = iris.frame.head(3).copy()
    frame.loc[1, iris.features[0]] = np.nan
    last = pa.array([253402300799] * 3, pa.int64())  # 9999-12-31T23:59:59Z
    days = pa.array([[2**31 - 1, 0]] * 3, pa.list_(pa.int32()))
    columns = {
        "berlin": last.cast(pa.timestamp("s", "Europe/Berlin")),
        "mars": last.cast(pa.timestamp("s", "Mars/A")),
        "time": pa.array([3723000000001] * 3, pa.int64()).cast(pa.time64("ns")),
        "far": pa.array([2**50] * 3, pa.int64()).cast(pa.timestamp("ms")),
        "days": days.cast(pa.list_(pa.date32())),
    }
    table = pa.Table.from_pandas(frame)
    for name, column in columns.items():
        table = table.append_column(name, column)
    pq.write_table(table, tmp_path / "far.parquet")
    assert score(tmp_path / "far.parquet", "--max-rejects", "1").code == 0
    assert write_rejects(str(tmp_path / "out"), tmp_path / "r.csv") == 1
    (row,) = csv.DictReader(StringIO((tmp_path / "r.csv").read_text(), newline=""))
    assert {name: row[name] for name in ("berlin", "mars", "time")} == {
        "berlin": "9999-12-31 23:59:59Z", "mars": "9999-12-31 23:59:59Z", "time": "01:02:03.000000001",
    }  # fmt: skip
    assert str(2**50) in row["far"]
    assert json.loads(row["days"]) == [f"<value out of range: {2**31 - 1}>", "1970-01-01"]


def test_a_run_that_has_not_ended(out: Path) -> None:
    """It has not recorded its parts."""
    store = FolderStore(out)
    manifest = read_manifest(store)
    write_manifest(store, manifest.model_copy(update={"status": "running"}), read_record(store, manifest))
    for read in (lambda: read_rejects(str(out), limit=1), lambda: write_rejects(str(out), out.parent / "r.csv")):
        with pytest.raises(DataError, match="no record of its rejects: the run was killed, or is still running"):
            read()


def test_nothing_to_read(tmp_path: Path, out: Path) -> None:
    """A folder that is not an output, and files of rejects that are gone or damaged."""
    with pytest.raises(NoInputError, match="is not an output"):
        read_rejects(str(tmp_path / "data"), limit=1)
    first = next((out / "_rejects").glob("b*.arrow"))
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"b-0000.\.arrow: does not match the receipt of b-0000.\.parquet"):
        read_rejects(str(out), limit=1)
    first.unlink()
    (tmp_path / "old.csv").write_text("old")
    with pytest.raises(DataError, match=r"b-0000.\.arrow: cannot be read"):
        write_rejects(str(out), tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "old"


def test_a_csv_file_that_cannot_be_written(out: Path, tmp_path: Path) -> None:
    """Names the path."""
    with pytest.raises(StorageError, match=r"the CSV file '.*/no/r\.csv' cannot be written: No such file"):
        write_rejects(str(out), tmp_path / "no" / "r.csv")
