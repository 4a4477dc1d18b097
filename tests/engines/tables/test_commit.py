"""Finished parts become versions of Delta and Iceberg tables, which other libraries read back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.engines.tables.files import read_files
from scoreline.pipeline.engines.tables.table import Table
from scoreline.pipeline.outputs.committed import read_committed
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest, read_record

from conftest import Example, Result
from outcomes import closed, parts

polars = pytest.importorskip("polars", reason="polars is not installed (make engines)")
deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed (make engines)")
catalogs = pytest.importorskip("pyiceberg.catalog", reason="pyiceberg is not installed (make engines)")

Command = Callable[..., Result]
pytestmark = pytest.mark.filterwarnings("default")
FORMATS = ["delta", "iceberg"]
DAYS = ["2026-11-01", "2026-11-02", "a b%2Fé", "__HIVE_DEFAULT_PARTITION__"]
VALUES = ["2026-11-01", "2026-11-02", "a b/é", None]


@pytest.fixture
def data(tmp_path: Path, iris: Example) -> Path:
    """A file for each of four days, with keys of several types; one row is rejected."""
    for number, day in enumerate(DAYS):
        folder = tmp_path / "data" / f"day={day}"
        folder.mkdir(parents=True)
        frame = iris.frame.assign(row_id=iris.frame["row_id"] + number, name=[f"é{n}" for n in range(150)])
        frame["seen"] = pd.date_range("2026-03-08", periods=150, freq="h", tz="UTC").as_unit("us")
        frame["species"] = frame["truth"].map({0: "setosa", 1: "versicolor", 2: None}).astype("category")
        if number == 1:
            frame.loc[7, iris.features[0]] = float("nan")
        frame.to_parquet(folder / "flowers.parquet", index=False)
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output."""
    return tmp_path / "out"


@pytest.fixture
def run(scoreline: Command, iris: Example, data: Path, out: Path) -> Command:
    """Score the data."""
    words = ["--bundle", iris.bundle, "--input", data, "--output", out, "--max-rejects", "9"]
    return lambda *more: scoreline("score", *words, *more)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A catalog in SQLite, configured by variables as by a user."""
    monkeypatch.setenv("PYICEBERG_CATALOG__TEST__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__TEST__WAREHOUSE", f"file://{tmp_path}/warehouse")
    settings = {"uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/warehouse"}
    # pyiceberg reads the variables once, when it is imported
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG.config", {"catalog": {"test": settings}})
    return catalogs.load_catalog("test")


@pytest.fixture
def commit(scoreline: Command, out: Path, catalog: Any) -> Command:
    """Commit the output to a table of a format."""
    words = {"delta": ["--delta"], "iceberg": ["--iceberg", "scores.flowers", "--catalog", "test"]}
    return lambda table_format, *more: scoreline("commit", out, *words[table_format], *more)


def table_of(table_format: str, out: Path) -> Table:
    """The table to which the output is committed."""
    if table_format == "delta":
        from scoreline.pipeline.engines.tables.delta import Delta

        return Delta(str(out), run_id="run")
    from scoreline.pipeline.engines.tables.iceberg import Iceberg

    return Iceberg(str(out), table="scores.flowers", catalog="test", run_id="run")


def rows_of(table_format: str, out: Path, catalog: Any) -> pa.Table:
    """The rows of a table, read by polars."""
    if table_format == "delta":
        return polars.read_delta(str(out)).to_arrow()
    return polars.scan_iceberg(catalog.load_table("scores.flowers")).collect().to_arrow()


def num_versions(table_format: str, out: Path, catalog: Any) -> int:
    """How many versions a table has."""
    if table_format == "delta":
        return len(deltalake.DeltaTable(str(out)).history())
    return len(catalog.load_table("scores.flowers").snapshots())


def plain(out: Path) -> pd.DataFrame:
    """The rows of an output, read by Arrow as Hive partitions."""
    found = ds.dataset(out, partitioning=ds.partitioning(pa.schema([("day", pa.string())]), flavor="hive")).to_table()
    return ordered(found)


def ordered(table: pa.Table) -> pd.DataFrame:
    """By row id, with text for categories."""
    frame = table.to_pandas().astype({"species": "object"}).sort_values("row_id", ignore_index=True)
    return frame[sorted(frame.columns)]


@pytest.mark.parametrize("table_format", FORMATS)
def test_read_back(run: Command, commit: Command, out: Path, catalog: Any, table_format: str) -> None:
    """The same rows as in the files, with the partition columns; no file is written again, and the output is intact."""
    assert run().code == 0
    before = parts(out)
    done = commit(table_format)
    assert done.code == 0, done.err
    assert "added 4 parts with 599 rows in version" in done.out
    after = {name: data for name, data in parts(out).items() if "_delta_log" not in name}
    assert after == before
    pd.testing.assert_frame_equal(ordered(rows_of(table_format, out, catalog)), plain(out), check_dtype=False)
    again = commit(table_format)
    assert (again.code, "has all 4 parts already" in again.out) == (0, True)
    assert num_versions(table_format, out, catalog) == 1


def test_other_readers(run: Command, commit: Command, out: Path, catalog: Any) -> None:
    """deltalake with DuckDB, and pyiceberg, which select partitions by their values."""
    assert run().code == 0
    codes = [commit(table_format).code for table_format in FORMATS]
    assert codes == [0, 0]
    table = deltalake.DeltaTable(str(out))
    with duckdb.connect() as connection:
        connection.register("files", table.to_pyarrow_dataset())
        found = connection.sql(
            "SELECT day, count(*), count(DISTINCT row_id) FROM files GROUP BY ALL ORDER BY day"
        ).fetchall()
    assert found == [(VALUES[0], 150, 150), (VALUES[1], 149, 149), (VALUES[2], 150, 150), (None, 150, 150)]
    assert len(table.file_uris(partition_filters=[("day", "=", "a b/é")])) == 1
    scored = catalog.load_table("scores.flowers")
    for value, rows in (("2026-11-02", 149), ("a b/é", 150)):
        scan = scored.scan(row_filter=f"day = '{value}'")
        assert (len(list(scan.plan_files())), scan.to_arrow().num_rows) == (1, rows)
    assert scored.scan(row_filter="day is null").to_arrow().num_rows == 150


TYPES = {
    "int8": pa.array([-1, None], pa.int8()),
    "int16": pa.array([300, None], pa.int16()),
    "bool": pa.array([True, None]),
    "float32": pa.array([0.5, None], pa.float32()),
    "date": pa.array([20_000, None], pa.date32()),
    "local": pa.array([10**15 + 1, None], pa.timestamp("us")),
    "instant": pa.array([10**15 + 1, None], pa.timestamp("us", "UTC")),
    "decimal": pa.array(["12.30", None]).cast(pa.decimal128(10, 2)),
    "bytes": pa.array([b"\x00\xff", None]),
    "large": pa.array(["é", None], pa.large_string()),
    "structs": pa.array([[{"a": 1, "b": "x"}], None], pa.list_(pa.struct([("a", pa.int64()), ("b", pa.string())]))),
}


@pytest.mark.parametrize("table_format", FORMATS)
def test_types(
    scoreline: Command, commit: Command, iris: Example, tmp_path: Path, out: Path, catalog: Any, table_format: str
) -> None:
    """Every supported type keeps its values."""
    rows = pa.Table.from_pandas(iris.frame.head(2), preserve_index=False)
    for name, values in TYPES.items():
        rows = rows.append_column(name, values)
    pq.write_table(rows, tmp_path / "in.parquet")
    assert scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", out).code == 0
    done = commit(table_format)
    assert done.code == 0, done.err
    found = rows_of(table_format, out, catalog).sort_by("row_id")
    for name, values in TYPES.items():
        assert found.column(name).to_pylist() == values.to_pylist(), name


@pytest.mark.parametrize("table_format", FORMATS)
def test_new_inputs_are_another_version(
    run: Command, commit: Command, scoreline: Command, out: Path, data: Path, catalog: Any, table_format: str
) -> None:
    """Only their parts are added; the version before is still readable, and `verify` finds nothing wrong."""
    assert run().code == 0
    assert commit(table_format).code == 0
    (data / "day=2026-11-03").mkdir()
    source = data / f"day={DAYS[0]}" / "flowers.parquet"
    pq.write_table(pq.read_table(source), data / "day=2026-11-03" / "late.parquet")
    assert run().code == 0
    found = json.loads(commit(table_format, "--json").out)
    assert (found["parts"], found["rows"], found["parts_before"]) == (1, 150, 4)
    assert rows_of(table_format, out, catalog).num_rows == 749
    assert num_versions(table_format, out, catalog) == 2
    assert scoreline("verify", out).code == 0
    assert "nothing_to_do" in run().err


class TestMaintenance:
    """What engines do to a table does not make a commit add parts again."""

    def test_delta(
        self, run: Command, commit: Command, scoreline: Command, out: Path, data: Path, catalog: Any
    ) -> None:
        """Compacted, with a checkpoint, after files that it does not refer to were removed: the output is intact."""
        (data / f"day={DAYS[0]}" / "more.parquet").write_bytes(
            (data / f"day={DAYS[0]}" / "flowers.parquet").read_bytes()
        )
        assert run().code == 0
        assert commit("delta").code == 0
        table = deltalake.DeltaTable(str(out))
        removed = table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        assert removed == []
        assert scoreline("verify", out).code == 0
        assert table.optimize.compact()["numFilesRemoved"] == 2
        table.create_checkpoint()
        assert "has all 5 parts already" in commit("delta").out
        assert rows_of("delta", out, catalog).num_rows == 749

    def test_iceberg(self, run: Command, commit: Command, catalog: Any) -> None:
        """Rows are deleted, and the snapshot of the commit has expired."""
        assert run().code == 0
        assert commit("iceberg").code == 0
        table = catalog.load_table("scores.flowers")
        first = table.current_snapshot().snapshot_id
        table.delete("day = '2026-11-02'")
        table.maintenance.expire_snapshots().by_id(first).commit()
        assert first not in [snapshot.snapshot_id for snapshot in catalog.load_table("scores.flowers").snapshots()]
        assert "has all 4 parts already" in commit("iceberg").out
        assert catalog.load_table("scores.flowers").scan().to_arrow().num_rows == 450


class TestImmutable:
    """A part that a table refers to is not replaced or removed."""

    @pytest.mark.parametrize("table_format", FORMATS)
    def test_a_run_that_would_replace_it(
        self, run: Command, commit: Command, out: Path, data: Path, catalog: Any, table_format: str
    ) -> None:
        """An input that has changed, a forced run, a part that was lost: refused before anything is scored."""
        assert run().code == 0
        assert commit(table_format).code == 0
        before = parts(out)
        closed(run("--force"), 73, "would be replaced, but it was committed to", "choose another --output")
        closed(run("--split-rows", "64"), 73, "would be replaced")
        changed = data / f"day={DAYS[0]}" / "flowers.parquet"
        pq.write_table(pq.read_table(changed).slice(0, 20), changed)
        closed(run(), 73, f"day={DAYS[0]}/flowers.parquet would be replaced")
        assert parts(out) == before
        assert rows_of(table_format, out, catalog).num_rows == 599

    def test_prune(self, run: Command, commit: Command, out: Path, data: Path) -> None:
        """Does not remove it; without it, its rows stay in the table."""
        assert run().code == 0
        assert commit("delta").code == 0
        (data / f"day={DAYS[0]}" / "flowers.parquet").unlink()
        closed(run("--prune"), 73, "would be removed, but it was committed to delta")
        assert run().code == 0
        assert "has all" in commit("delta").out

    def test_parts_that_are_not_committed(self, run: Command, commit: Command, scoreline: Command, out: Path) -> None:
        """Are replaced as ever."""
        assert run().code == 0
        assert run("--force").code == 0
        assert commit("delta").code == 0


class TestRefusals:
    """Nothing is written."""

    def test_an_unfinished_output(self, run: Command, commit: Command, out: Path, catalog: Any) -> None:
        """And a folder that is none."""
        closed(commit("delta"), 66, "is not an output of scoreline score")
        assert run().code == 0
        (out / "_SUCCESS").unlink()
        closed(commit("delta"), 65, "is not complete")
        closed(commit("iceberg"), 65, "is not complete")
        assert not (out / "_delta_log").exists()
        assert catalog.list_namespaces() == []

    @pytest.mark.parametrize(
        ("arrow_type", "formats"),
        [
            (pa.uint32(), FORMATS),
            (pa.float16(), FORMATS),
            (pa.timestamp("ns"), FORMATS),
            (pa.timestamp("us", "Europe/Berlin"), FORMATS),
            (pa.time64("us"), ["delta"]),
            (pa.duration("us"), FORMATS),
            (pa.list_(pa.struct([("n", pa.uint8())])), FORMATS),
            (pa.list_(pa.int32(), 2), FORMATS),
        ],
        ids=str,
    )
    def test_types(
        self, scoreline: Command, commit: Command, iris: Example, iris_file: Path, out: Path, catalog: Any,
        arrow_type: pa.DataType, formats: list[str],
    ) -> None:  # fmt: skip
        """With the name of the column and its type."""
        table = pq.read_table(iris_file).append_column(pa.field("odd", arrow_type), pa.nulls(150, arrow_type))
        pq.write_table(table, iris_file)
        assert scoreline("score", "--bundle", iris.bundle, "--input", iris_file, "--output", out).code == 0
        for table_format in FORMATS:
            if table_format in formats:
                closed(
                    commit(table_format), 65, f"column 'odd' is {pq.read_schema(out / 'in.parquet').field('odd').type}"
                )
            else:
                assert commit(table_format).code == 0
        assert (out / "_delta_log").exists() == ("delta" not in formats)

    def test_parts_that_differ(self, run: Command, commit: Command, data: Path) -> None:
        """In the type of a column, or in the keys of their folders."""
        source = data / f"day={DAYS[0]}" / "flowers.parquet"
        pq.write_table(pq.read_table(source), data / "top.parquet")
        assert run().code == 0
        closed(commit("delta"), 65, "are in folders with different keys")
        (data / "top.parquet").unlink()
        table = pq.read_table(source)
        pq.write_table(table.set_column(0, "row_id", table["row_id"].cast(pa.float64())), source)
        assert run("--prune").code == 0
        closed(commit("iceberg"), 65, "column 'row_id' is double in", "and int64 in")

    @pytest.mark.parametrize("table_format", FORMATS)
    def test_a_table_with_other_columns(
        self, run: Command, commit: Command, out: Path, data: Path, catalog: Any, table_format: str
    ) -> None:
        """A later version must have the columns of the first."""
        assert run().code == 0
        assert commit(table_format).code == 0
        source = data / f"day={DAYS[0]}" / "flowers.parquet"
        table = pq.read_table(source)
        pq.write_table(table.set_column(0, "row_id", table["row_id"].cast(pa.string())), source.with_name("z.parquet"))
        assert run().code == 0
        closed(commit(table_format), 65, "column 'row_id' is string in the parts")
        assert num_versions(table_format, out, catalog) == 1

    @pytest.mark.parametrize("table_format", FORMATS)
    def test_a_table_with_a_required_column(
        self, run: Command, commit: Command, out: Path, catalog: Any, table_format: str
    ) -> None:
        """Made by somebody else: parts may have nulls."""
        assert run().code == 0
        store = FolderStore(out)
        files = read_files(store, list(read_record(store, read_manifest(store)).parts()))
        schema = files.table_schema()
        schema = schema.set(0, schema.field(0).with_nullable(False))
        if table_format == "delta":
            deltalake.DeltaTable.create(str(out), deltalake.Schema.from_arrow(schema), partition_by=["day"])
        else:
            catalog.create_namespace("scores")
            catalog.create_table("scores.flowers", schema)
        closed(commit(table_format), 65, f"column {schema.names[0]!r} is required in the")
        assert not read_committed(store)

    def test_a_path_that_is_no_path_of_a_uri(
        self, scoreline: Command, iris: Example, data: Path, tmp_path: Path, catalog: Any
    ) -> None:
        """An Iceberg table refers to files by URI, in which ? and # end the path."""
        out = tmp_path / "a#b"
        words = ["--bundle", iris.bundle, "--input", data, "--output", out, "--max-rejects", "9"]
        assert scoreline("score", *words).code == 0
        closed(
            scoreline("commit", out, "--iceberg", "scores.flowers", "--catalog", "test"),
            65,
            "has ?, # or a control character in its path",
        )
        assert catalog.list_namespaces() == []

    @pytest.mark.parametrize("table_format", FORMATS)
    def test_odd_names(
        self, run: Command, commit: Command, out: Path, data: Path, catalog: Any, table_format: str
    ) -> None:
        """Are read back, or refused before anything is committed."""
        flowers = pq.read_table(data / f"day={DAYS[0]}" / "flowers.parquet")
        for name in ("a b", "a%20b", "é\u2028", "a?#b", "a'b", "a\tb", "a\nb", "a\x7fb"):
            shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(data)
            data.mkdir()
            pq.write_table(flowers, data / f"{name}.parquet")
            assert run().code == 0
            found = commit(table_format)
            odd = set(name) & set("\t\n\x7f") or (table_format == "iceberg" and set(name) & set("?#"))
            assert found.code == (65 if odd else 0), found.err
            if not odd:
                assert rows_of(table_format, out, catalog).num_rows == flowers.num_rows, name
                if table_format == "iceberg":
                    catalog.drop_table("scores.flowers")
            else:
                assert repr(f"{name}.parquet") in found.message

    def test_usage(self, scoreline: Command, run: Command, out: Path) -> None:
        """One table, with a namespace, in a catalog that is configured."""
        assert run().code == 0
        closed(scoreline("commit", out), 2, "pass either --delta or --iceberg")
        closed(scoreline("commit", out, "--iceberg", "flowers", "--catalog", "none"), 2, "has no namespace")
        closed(scoreline("commit", out, "--iceberg", "a.b", "--catalog", "none"), 2, "catalog 'none' cannot be opened")


class TestConcurrency:
    """Several committers at once."""

    @pytest.mark.parametrize("table_format", FORMATS)
    def test_three_committers_of_one_output(
        self, run: Command, commit: Command, out: Path, catalog: Any, table_format: str
    ) -> None:
        """Add one version, also where the file system does not lock, so that all of them write at the same time."""
        assert run().code == 0
        store = FolderStore(out)
        files = read_files(store, list(read_record(store, read_manifest(store)).parts()))
        barrier = Barrier(3)

        def add(number: int) -> str:
            table = table_of(table_format, out)
            table.check(files)
            barrier.wait()
            version: str = table.append(files, 1)
            return version

        with ThreadPoolExecutor(3) as pool:
            versions = set(pool.map(add, range(3)))
        assert len(versions) == 1
        assert num_versions(table_format, out, catalog) == 1
        assert rows_of(table_format, out, catalog).num_rows == 599

    def test_outputs_of_three_processes(
        self, scoreline: Command, iris: Example, data: Path, tmp_path: Path, catalog: Any
    ) -> None:
        """Committed to one Iceberg table at the same time: three versions with the rows of all."""
        for number in range(3):
            out = tmp_path / f"out{number}"
            words = ["--bundle", iris.bundle, "--input", data, "--output", out, "--max-rejects", "9"]
            assert scoreline("score", *words).code == 0
        command = [sys.executable, "-m", "scoreline", "commit"]
        processes = [
            subprocess.Popen(
                [*command, tmp_path / f"out{number}", "--iceberg", "scores.flowers", "--catalog", "test"],
                stderr=subprocess.PIPE,
                cwd="/",
            )
            for number in range(3)
        ]
        errors = [process.communicate(timeout=120)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0], errors
        assert num_versions("iceberg", tmp_path, catalog) == 3
        assert rows_of("iceberg", tmp_path, catalog).num_rows == 3 * 599


class TestInterruptions:
    """A commit that was killed, and is repeated."""

    @pytest.mark.parametrize("table_format", FORMATS)
    def test_before_the_table_was_written(
        self, run: Command, commit: Command, out: Path, catalog: Any, monkeypatch: pytest.MonkeyPatch,
        table_format: str,
    ) -> None:  # fmt: skip
        """Its parts are added, and were immutable meanwhile."""
        assert run().code == 0
        with monkeypatch.context() as patch:
            patch.setattr(type(table_of(table_format, out)), "append", _killed)
            assert commit(table_format).code == 1
        closed(run("--force"), 73, "would be replaced")
        assert {part.number for part in read_committed(FolderStore(out))} == {1}
        assert "added 4 parts" in commit(table_format).out
        assert num_versions(table_format, out, catalog) == 1

    @pytest.mark.parametrize("table_format", FORMATS)
    def test_after_the_table_was_written(
        self, run: Command, commit: Command, out: Path, catalog: Any, table_format: str
    ) -> None:
        """There is nothing left to do; a table that was removed is filled again."""
        assert run().code == 0
        assert commit(table_format).code == 0
        assert "has all 4 parts" in commit(table_format).out
        if table_format == "delta":
            (out / "_delta_log").rename(out.parent / "log")
        else:
            catalog.drop_table("scores.flowers")
        assert "added 4 parts" in commit(table_format).out
        assert rows_of(table_format, out, catalog).num_rows == 599

    def test_a_record_that_was_lost(self, run: Command, commit: Command, out: Path) -> None:
        """Nothing can be added safely; a damaged one stops the next run, too."""
        assert run().code == 0
        assert commit("delta").code == 0
        record = out / "_scoreline" / "committed.pq"
        record.write_bytes(record.read_bytes()[:-9])
        closed(commit("delta"), 65, "committed.pq", "cannot be read")
        closed(run(), 65, "committed.pq", "cannot be read")
        record.unlink()
        closed(commit("delta"), 65, "delta has commits of", "has no record of them")


def _killed(*_: object) -> str:
    raise RuntimeError
