"""`demo` does what its help says."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.dataset as ds
import pytest
from scoreline.jobs import cli
from scoreline.jobs import demo as demo_command

from conftest import Result

Command = Callable[..., Result]


@pytest.fixture
def in_process(scoreline: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `scoreline demo` with its commands in this process: starting Python takes longer than their work."""

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-P", "-m", "scoreline"]  # nothing is imported from the current folder
        return subprocess.CompletedProcess(command, cli.run(command[4:]))

    monkeypatch.setattr(demo_command, "subprocess", SimpleNamespace(run=run))
    return scoreline


@pytest.mark.parametrize("words", [("--rows", "3000"), ()])
def test_demo(process: Command, in_process: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    """It trains, saves, writes, scores with the real command, and is right most of the time. With --rows, each command
    is a process of its own."""
    run = process if words else in_process
    result = run("demo", "--dir", tmp_path / "demo", *words)
    assert result.code == 0, result.err
    assert "$ scoreline score --bundle" in result.out
    scored = tmp_path / "demo" / "scored" / "breast_cancer"
    assert (scored / "_SUCCESS").exists()
    rows = ds.dataset(scored, format="parquet", partitioning="hive").to_table()
    assert rows.num_rows == (3000 if words else 228)
    right = np.mean(np.array(rows["true_label"].to_pylist()) == np.array(rows["prediction"].to_pylist()))
    assert right > 0.9
    assert f"{right:.4f}" in result.out
    again = in_process("demo", "--dir", tmp_path / "demo", "--rows", "100")
    assert again.code == 0


#: One for each type of input, and the options that change most; the others are long tests.
SHORT_DEMOS = ("heads", "quantiles", "explain", "image", "sequence")


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        pytest.param(task, marks=() if task in SHORT_DEMOS else pytest.mark.long)
        for task in demo_command.TASKS
        if task not in ("binary", "multiclass")
    ],
)
def test_every_task_has_its_demo(in_process: Command, tmp_path: Path, task: str) -> None:
    """With real data and the commands that it prints; and the predictions are good."""
    result = in_process("demo", "--dir", tmp_path / "demo", "--task", task)
    assert result.code == 0, result.err
    assert "$ scoreline score --bundle" in result.out
    assert ("$ scoreline evaluate" if task != "generation" else "of 200 are correct") in result.out
    (scored,) = (tmp_path / "demo" / "scored").iterdir()
    assert (scored / "_SUCCESS").exists()
    number = re.search(r"(?:accuracy|in) +([01]\.\d{4})", result.out)
    if number is not None:
        assert float(number[1]) > 0.85


def test_demo_does_not_write_over_other_things(scoreline: Command, tmp_path: Path) -> None:
    """It refuses a folder that it did not create."""
    (tmp_path / "thesis.txt").touch()
    result = scoreline("demo", "--dir", tmp_path)
    assert result.code == 2
    assert "not made by the demo" in result.err
