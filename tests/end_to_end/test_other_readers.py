"""Other tools read an output: each call of the page for that is run. Spark is not run: it skips names that begin with
`_` or `.`, which are all names in an output beside its parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
from scoreline.jobs import cli

from conftest import Example

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "reading-results.md"
ABSENT = "is not a dependency: pip install it to run this call of the page"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, iris: Example) -> Path:
    """Hive folders, several splits, rejects, and the remains of a killed run."""
    root = tmp_path_factory.mktemp("readers")
    frame = iris.frame.copy()
    frame.loc[3, iris.features[0]] = np.nan
    for day in (1, 2):
        folder = root / "in" / f"date=2026-11-0{day}"
        folder.mkdir(parents=True)
        frame.assign(row_id=frame["row_id"] + day).to_parquet(folder / "a.parquet", index=False)
    words = ["--bundle", str(iris.bundle), "--input", str(root / "in"), "--output", str(root / "scored")]
    assert cli.run(["score", *words, "--max-rejects", "2", "--split-rows", "100", "--log-level", "error"]) == 0
    (root / "scored" / "date=2026-11-01" / ".scoreline-0123456789abcdef.tmp").write_bytes(b"PAR1")
    return root / "scored"


@pytest.fixture
def wanted(iris: Example) -> pd.DataFrame:
    """The keys that each reader must find, once, with their day."""
    kept = iris.frame.drop(index=3)["row_id"]
    return pd.concat([pd.DataFrame({"row_id": kept + day, "date": f"2026-11-0{day}"}) for day in (1, 2)])


def same(found: Any, wanted: pd.DataFrame) -> None:
    """Whether a frame contains these rows, each once."""
    rows = found[["row_id", "date"]].assign(date=found["date"].astype(str)).sort_values("row_id", ignore_index=True)
    pd.testing.assert_frame_equal(rows, wanted.sort_values("row_id", ignore_index=True), check_dtype=False)
    assert found["prediction"].notna().all()


def shows(call: str) -> bool:
    """Whether the page contains a call."""
    return call in PAGE.read_text(encoding="utf-8")


def test_pandas(scored: Path, wanted: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scored.parent)
    assert shows('pd.read_parquet("scored/")')
    same(pd.read_parquet("scored/"), wanted)


def test_arrow(scored: Path, wanted: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scored.parent)
    assert shows('ds.dataset("scored/", partitioning="hive").to_table(')
    same(ds.dataset("scored/", partitioning="hive").to_table().to_pandas(), wanted)


def test_polars(scored: Path, wanted: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads every name in a directory, whatever it begins with."""
    pl = pytest.importorskip("polars", reason=f"polars {ABSENT}")
    monkeypatch.chdir(scored.parent)
    assert shows('pl.scan_parquet("scored/**/*.parquet", hive_partitioning=True).collect()')
    same(pl.scan_parquet("scored/**/*.parquet", hive_partitioning=True).collect().to_pandas(), wanted)


def test_duckdb(scored: Path, wanted: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb", reason=f"duckdb {ABSENT}")
    monkeypatch.chdir(scored.parent)
    query = "FROM read_parquet('scored/**/*.parquet', hive_partitioning = true)"
    assert shows(query)
    same(duckdb.sql(query).df(), wanted)


def test_what_spark_skips(scored: Path) -> None:
    """Everything but the parts is below a name that begins with `_` or `.`."""
    seen = [
        path
        for path in scored.rglob("*")
        if path.is_file() and not any(part.startswith(("_", ".")) for part in path.relative_to(scored).parts)
    ]
    assert {path.suffix for path in seen} == {".parquet"}
