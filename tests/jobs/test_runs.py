"""`scoreline runs`: the table, the limit and JSON, for one output and for several."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Result

Command = Callable[..., Result]


@pytest.fixture
def out(score: Command, iris_file: Path, tmp_path: Path) -> Path:
    """Two runs, the second of which has failed."""
    assert score(iris_file, "--run-id", "first").code == 0
    assert score(iris_file, "--run-id", "second", "--keys", "nonsense").code == 65
    return tmp_path / "out"


def test_one_output(scoreline: Command, out: Path) -> None:
    """The last run at the end."""
    lines = scoreline("runs", out).out.splitlines()
    assert lines[0].split()[:4] == ["started", "(UTC)", "exit", "rows"]
    first, second = lines[2:]
    assert first.split()[2:6] == ["0", "150", "150", "0"]
    assert first.split()[7].startswith("sha256:")
    assert second.split()[2] == "65"
    assert "'nonsense' is missing" in second
    assert scoreline("runs", out, "--limit", "1").out.splitlines()[2:] == [second]


def test_several_outputs(scoreline: Command, out: Path, tmp_path: Path) -> None:
    """By a glob; each line names its output."""
    (tmp_path / "other").symlink_to(out)
    with (out / "_scoreline" / "history.jsonl").open("a") as file:
        file.write("torn\n")
    found = scoreline("runs", f"{tmp_path}/o*")
    names = [line.split()[0] for line in found.out.splitlines()[2:6]]
    assert sorted(names) == sorted([str(tmp_path / "other"), str(out)] * 2)
    assert found.out.splitlines()[-1] == "2 lines of the history cannot be read"
    report = json.loads(scoreline("runs", out, "--json").out)
    assert [(one["run_id"], one["exit_code"]) for one in report["runs"]] == [("first", 0), ("second", 65)]
    assert report["unreadable_lines"] == 1


def test_no_runs(scoreline: Command, tmp_path: Path) -> None:
    """A folder that is not an output is refused; an output without a history is not."""
    assert scoreline("runs", tmp_path).code == 66
    (tmp_path / "new" / "_scoreline").mkdir(parents=True)
    assert scoreline("runs", tmp_path / "new").out == "no runs are recorded\n"
