"""`scoreline verify`: the table, JSON, exit codes, and the first problem as the error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Result

Command = Callable[..., Result]


@pytest.fixture
def out(score: Command, iris_file: Path, tmp_path: Path) -> Path:
    """An output of four parts."""
    assert score(iris_file, "--split-rows", "40").code == 0
    return tmp_path / "out"


def rows(result: Result) -> dict[str, str]:
    """The lines of the table, by their first cell."""
    cells = (line.rsplit("  ", 1) for line in result.out.splitlines() if "  " in line)
    return {name.strip(): found.strip() for name, found in cells}


def test_an_intact_output(scoreline: Command, out: Path) -> None:
    """Every count, as a table and as JSON."""
    found = scoreline("verify", out)
    assert found.code == 0, found.err
    assert rows(found)["rows in"] == "150"
    assert rows(found)["parts"] == "4"
    assert rows(found)["inputs whose keys were compared"] == "1"
    assert rows(found)["problems"] == "0"
    report: dict[str, Any] = json.loads(scoreline("verify", out, "--json").out)
    assert report == {
        "parts": 4, "rows_in": 150, "rows_scored": 150, "rows_rejected": 0, "keys_compared": 1, "changed_inputs": [],
        "recorded": {"parts": 4, "rows_in": 150, "rows_scored": 150, "rows_rejected": 0},
        "orphaned_parts": [], "problems": [],
    }  # fmt: skip


def test_problems(scoreline: Command, out: Path) -> None:
    """All are printed; the error is the first, with the number of others."""
    for name in ("in-00001.parquet", "in-00002.parquet"):
        (out / name).unlink()
    (out / "theirs.parquet").write_bytes(b"PAR1")
    found = scoreline("verify", out)
    assert found.code == 65
    assert rows(found)["problems"] == "3"
    assert rows(found)["parts"] == "2 of 4"
    assert rows(found)["rows in"] == "70 of 150"
    assert "theirs.parquet: is not a part of the run; move it out of the output" in found.out
    assert "in-00001.parquet: is missing; run again to rescore it (and 2 more)" in found.message
    as_json = scoreline("verify", out, "--json")
    assert (as_json.code, len(json.loads(as_json.out)["problems"])) == (65, 3)


def test_the_input_is_gone(scoreline: Command, out: Path, iris_file: Path) -> None:
    """Its keys cannot be compared, which is no problem of the output."""
    iris_file.unlink()
    found = scoreline("verify", out)
    assert found.code == 0, found.err
    assert rows(found)["inputs changed or missing"] == "1"
    assert f"changed or missing since they were scored: {iris_file.name!r}" in found.out
    assert rows(found)["inputs whose keys were compared"] == "0"


def test_not_an_output(scoreline: Command, tmp_path: Path) -> None:
    """Nothing to verify."""
    found = scoreline("verify", tmp_path)
    assert (found.code, "is not an output of scoreline score" in found.message) == (66, True)
