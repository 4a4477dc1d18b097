"""`scoreline rejects`: tables, JSON, CSV, and outputs without rejects."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Example, Result

Command = Callable[..., Result]


@pytest.fixture
def out(score_four_files: Command, tmp_path: Path) -> Path:
    """Four files, two of which have a reject."""
    assert score_four_files().code == 0
    return tmp_path / "out"


def test_tables(scoreline: Command, out: Path, iris: Example) -> None:
    """Counts by reason and input, then the first rows."""
    found = scoreline("rejects", out, "--limit", "1")
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0] == "2 of 600 rows rejected (0.33%)"
    reasons, inputs, rows = (lines[lines.index(one) :] for one in lines if one.startswith(("stage ", "input ")))
    name = iris.features[0]
    assert reasons[2].split() == ["check", *name.split(), "is", "null", "2", "2"]
    assert [line.split() for line in inputs[2:4]] == [["1.parquet", "1"], ["3.parquet", "1"]]
    assert rows[2].split() == ["1.parquet", "17", *name.split(), "is", "null"]
    assert rows[3] == "and 1 more row; pass --limit or --csv FILE.csv"


def test_json_and_csv(scoreline: Command, out: Path, tmp_path: Path) -> None:
    """The same, and every row in the file."""
    found = scoreline("rejects", out, "--json", "--csv", tmp_path / "r.csv", "--limit", "0")
    report = json.loads(found.out)
    assert (report["unfinished"], report["rows_in"], report["rows_rejected"], report["rows"]) == (None, 600, 2, [])
    assert report["by_input"] == [{"source": "1.parquet", "rows": 1}, {"source": "3.parquet", "rows": 1}]
    assert (report["by_reason"][0]["rows"], report["by_reason"][0]["inputs"]) == (2, 2)
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 3


def test_no_rejects(scoreline: Command, score: Command, iris_file: Path, tmp_path: Path) -> None:
    """One line."""
    assert score(iris_file).code == 0
    assert scoreline("rejects", tmp_path / "out").out == "0 of 150 rows rejected\n"


def test_a_run_without_a_published_split(scoreline: Command, score: Command, iris: Example, tmp_path: Path) -> None:
    """It does not look like a run without rejects."""
    iris.frame.assign(**{iris.features[0]: None}).to_parquet(tmp_path / "bad.parquet", index=False)
    assert score(tmp_path / "bad.parquet").code == 65
    found = scoreline("rejects", tmp_path / "out")
    assert found.code == 0, found.err
    assert found.out.startswith("no split is published, so no rejects are: the run is not complete (bad.parquet: ")
    assert "with 100%, scoreline rejects lists them all" in found.out
