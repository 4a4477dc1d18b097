"""Runs over versions of tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from conftest import Example, Result
from object_storage import Storage
from outcomes import closed

deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed (make engines)")
catalogs = pytest.importorskip("pyiceberg.catalog", reason="pyiceberg is not installed (make engines)")

pytestmark = pytest.mark.filterwarnings("default")
Score = Callable[..., Result]


def patients(example: Example, start: int, day: str) -> pa.Table:
    """Some rows of one day."""
    frame = example.frame.iloc[start : start + 30].assign(day=day)
    return pa.Table.from_pandas(frame, preserve_index=False)


class DeltaTable:
    """A Delta table in a folder."""

    def __init__(self, folder: Path) -> None:
        self.where = folder / "patients"
        self.input = f"delta+{self.where}"
        self.folder = str(self.where)

    def append(self, rows: pa.Table) -> None:
        """Add a version."""
        deltalake.write_deltalake(self.where, rows, mode="append", partition_by=["day"])

    def delete(self, day: str) -> None:
        """Delete the files of a day."""
        deltalake.DeltaTable(self.where).delete(f"day = '{day}'")

    def version(self) -> str:
        """The current one."""
        return str(deltalake.DeltaTable(self.where).version())


class IcebergTable:
    """An Iceberg table in a catalog of its own."""

    def __init__(self, folder: Path, rows: pa.Table) -> None:
        catalog = catalogs.load_catalog("test")
        catalog.create_namespace("lab")
        self.table = catalog.create_table("lab.patients", schema=rows.schema)
        with self.table.update_spec() as spec:
            spec.add_identity("day")
        self.input = "iceberg+test:lab.patients"
        self.folder = str(folder / "warehouse" / "lab" / "patients")

    def append(self, rows: pa.Table) -> None:
        """Add a snapshot."""
        self.table.append(rows)

    def delete(self, day: str) -> None:
        """Delete the files of a day."""
        self.table.delete(f"day = '{day}'")

    def version(self) -> str:
        """The id of the current snapshot."""
        return str(self.table.refresh().current_snapshot().snapshot_id)


@pytest.fixture(params=["delta", "iceberg"])
def table(request: pytest.FixtureRequest, tmp_path: Path, diabetes: Example, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A table with two days."""
    settings = {"uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/warehouse"}
    # pyiceberg reads its configuration once, when it is imported
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG.config", {"catalog": {"test": settings}})
    made: Any = (
        DeltaTable(tmp_path) if request.param == "delta" else IcebergTable(tmp_path, patients(diabetes, 0, "a b"))
    )
    made.append(patients(diabetes, 0, "a b"))
    made.append(patients(diabetes, 30, "é"))
    return made


@pytest.fixture
def score(scoreline: Score, diabetes: Example, tmp_path: Path) -> Score:
    """Score an input, with output to tmp_path/out."""
    words = ["score", "--bundle", diabetes.bundle, "--output", tmp_path / "out", "--input"]
    return lambda data, *more: scoreline(*words, data, *more)


def keys(out: Path) -> list[int]:
    """The keys of all rows in an output."""
    return sorted(ds.dataset(out, format="parquet").to_table(columns=["row_id"])["row_id"].to_pylist())


def manifest(out: Path) -> dict[str, Any]:
    """The manifest of the last run."""
    found: dict[str, Any] = json.loads((out / "_scoreline" / "run.json").read_text())
    return found


def test_versions(table: Any, score: Score, scoreline: Score, diabetes: Example, tmp_path: Path) -> None:
    """A later version scores what is new; what is no longer in it is orphaned. Earlier ones can be scored again."""
    out, ids, first = tmp_path / "out", diabetes.frame["row_id"].tolist(), table.version()
    assert score(table.input).code == 0
    assert keys(out) == ids[:60]
    assert (manifest(out)["input"], manifest(out)["table_version"]) == (table.input, first)
    table.append(patients(diabetes, 60, "c"))
    table.delete("a b")
    done = score(table.input)
    assert (done.code, done.event("table_version_found")["version"]) == (0, table.version())
    assert done.event("run_started")["to_score"] == {"missing": 1}
    assert done.event("orphaned_parts_found")["count"] == 1
    assert manifest(out)["table_version"] == table.version()
    assert f"{table.input}, version {table.version()}" in (out / "_scoreline" / "report.html").read_text()
    assert score(table.input, "--prune").code == 0
    assert keys(out) == ids[30:90]
    assert score(table.input).event("nothing_to_do")["partitions"] == 2
    assert scoreline("verify", out).code == 0
    assert score(f"{table.input}@{first}", "--prune").code == 0
    assert keys(out) == ids[:60]


def test_predictions(table: Any, score: Score, diabetes: Example, tmp_path: Path) -> None:
    """Are those of the same rows in a file."""
    assert score(table.input).code == 0
    found = pd.read_parquet(tmp_path / "out", columns=["row_id", "prediction"], partitioning=None)
    (tmp_path / "out").rename(tmp_path / "of_table")
    diabetes.frame[:60].to_parquet(tmp_path / "in.parquet", index=False)
    assert score(tmp_path / "in.parquet").code == 0
    expected = pd.read_parquet(tmp_path / "out" / "in.parquet", columns=["row_id", "prediction"])
    pd.testing.assert_frame_equal(found.sort_values("row_id", ignore_index=True), expected)


def test_check(table: Any, scoreline: Score, diabetes: Example) -> None:
    """Shows the version."""
    shown = scoreline("check", "--bundle", diabetes.bundle, "--input", table.input, "--json")
    assert json.loads(shown.out)["input"]["table version"] == table.version()


@pytest.mark.parametrize("where", ["{}", "{}/scored", "{}/.."])
def test_outputs_in_the_table(table: Any, scoreline: Score, diabetes: Example, where: str) -> None:
    """And around it are refused."""
    words = ["--bundle", diabetes.bundle, "--input", table.input, "--output", where.format(table.folder)]
    closed(scoreline("score", *words), 73, "overlap; choose an --output outside the input")


def test_formats(table: Any, score: Score) -> None:
    """Other than Parquet are refused."""
    closed(score(table.input, "--format", "csv"), 2, "--format csv does not suit the", "whose data files are Parquet")
    assert score(table.input, "--format", "parquet").code == 0


def test_shards(table: Any, score: Score, scoreline: Score, diabetes: Example, tmp_path: Path) -> None:
    """Score the version that the first of them has found."""
    first = table.version()
    assert score(table.input, "--shard", "1/2").code == 0
    table.append(patients(diabetes, 60, "c"))
    assert score(table.input, "--shard", "2/2").code == 0
    assert scoreline("finish", tmp_path / "out").code == 0
    assert keys(tmp_path / "out") == diabetes.frame["row_id"].tolist()[:60]
    assert manifest(tmp_path / "out")["table_version"] == first


def test_remote_outputs(storage: Storage, scoreline: Score, diabetes: Example, tmp_path: Path) -> None:
    """Of a table in the same bucket, also if it has one file, and relative to any working directory."""
    table = DeltaTable(tmp_path)
    table.append(patients(diabetes, 0, "a b"))
    storage.upload(table.where, "patients/")
    words = ["score", "--bundle", diabetes.bundle, "--input", f"delta+{storage.uri}/patients@0", "--output"]
    closed(scoreline(*words, f"{storage.uri}/patients/scored"), 73, "overlap")
    assert scoreline(*words, f"{storage.uri}/scored").code == 0
    assert scoreline("verify", f"{storage.uri}/scored").code == 0
    run = json.loads(storage.bucket.read("scored/_scoreline/run.json"))
    assert (run["table_version"], run["rows_scored"]) == ("0", 30)
