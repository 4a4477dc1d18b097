"""A signal ends a run within seconds, whatever it is at."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import Example, Result
from outcomes import visible

Command = Callable[..., Result]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_within_seconds(tmp_path: Path, iris: Example, number: signal.Signals, code: int) -> None:
    """P3: no part half-written, no temporary, no `_SUCCESS`; the manifest says what happened."""
    many = pd.concat([iris.frame] * 4000, ignore_index=True)
    (tmp_path / "data").mkdir()
    for n in range(6):
        many.to_parquet(tmp_path / "data" / f"{n}.parquet", index=False)
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--batch-size", "500"]
    words += ["--input", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd="/")
    deadline = time.monotonic() + 60
    while not any((tmp_path / "out").glob("0*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate(timeout=20)
    assert running.returncode == code, err
    assert "Traceback" not in err
    left = visible(tmp_path / "out")
    assert left
    assert all(name.endswith(".parquet") and ".tmp" not in name for name in left)
    run = json.loads((tmp_path / "out/_scoreline/run.json").read_text())
    assert run["status"] == "failed"
    assert "interrupted" in run["error"]
    # a signal between a rename and the entry of it leaves a part that the next run reads whole before it believes it
    assert {part["target"] for one in run["partitions"] for part in one["parts"]} <= set(left)


def test_a_signal_is_no_exception_of_the_model(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come while golden rows are replayed, where anything a model raises is a bad bundle."""
    from scoreline.pipeline.scoring.stages.scale import Scale

    monkeypatch.setattr(Scale, "__call__", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words).code == 143


def test_a_signal_in_a_destructor_is_not_lost(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python swallows what is raised there; it is raised again at the next block, and nothing is printed of it."""
    from scoreline.pipeline.running import publisher

    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    real = publisher.Publisher.publish

    def and_collect(self: publisher.Publisher, end: publisher.SplitEnd) -> None:
        real(self, end)
        if end.split.index == 0:
            Dying()

    monkeypatch.setattr(publisher.Publisher, "publish", and_collect)
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words, "--split-rows", "40")
    assert result.code == 143
    assert "Traceback" not in result.err
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_signal_while_torch_is_imported_waits_for_it(iris: Example, tmp_path: Path) -> None:
    """Torch would abort the process over an exception then."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    code = (
        "import os, signal, sys; from scoreline.jobs.cli import main\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch.nn.modules': os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Finder()); main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 143, done.stderr
    assert "interrupted by signal 15" in done.stderr
    assert not (tmp_path / "out" / "in.parquet").exists()
