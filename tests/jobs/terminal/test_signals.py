"""A signal ends a run within seconds, whatever it is doing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import Example, Result
from outcomes import recorded, visible

Command = Callable[..., Result]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_within_seconds(tmp_path: Path, iris: Example, number: signal.Signals, code: int) -> None:
    """P3: no half-written part, no temporary, no `_SUCCESS`; the manifest records the signal."""
    many = pd.concat([iris.frame] * 4000, ignore_index=True)
    (tmp_path / "data").mkdir()
    many.to_parquet(tmp_path / "data" / "0.parquet", index=False)
    for n in range(1, 6):
        shutil.copyfile(tmp_path / "data" / "0.parquet", tmp_path / "data" / f"{n}.parquet")
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--batch-size", "500"]
    words += ["--input", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--split-rows", "50000"]
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
    # a signal between a rename and its record leaves a part that the next run reads whole before it keeps it
    assert {part["target"] for part in recorded(tmp_path / "out")} <= {*left, None}


def test_a_signal_is_not_taken_for_an_error_of_the_model(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come during the golden replay, where any exception of the model means a bad bundle."""
    from scoreline.pipeline.scoring.stages.scale import Scale

    monkeypatch.setattr(Scale, "__call__", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words).code == 143


def test_a_signal_that_a_library_wraps(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pydantic does while it builds the validators of a manifest: still no internal error."""
    from scoreline.pipeline.errors import InterruptedRunError
    from scoreline.pipeline.running.ledger import Ledger

    def wrapped(*_: object, **__: object) -> None:
        monkeypatch.setattr(Ledger, "manifest", real)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except InterruptedRunError as error:
            raise ValueError(f"SchemaError: {error}") from None

    real = Ledger.manifest
    monkeypatch.setattr(Ledger, "manifest", wrapped)
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words)
    assert (result.code, "Traceback" in result.err) == (143, False)
    assert "interrupted by signal 15; run the same command again to finish" in result.err


def test_a_signal_in_a_destructor_is_not_lost(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python swallows exceptions there; the signal is raised again at the next block, and nothing is printed."""
    from scoreline.pipeline.events import Emitter, Event

    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    real, seen = Emitter.__call__, []

    def and_collect(self: Emitter, *events: Event) -> None:
        if not seen and any(event.name == "block_written" for event in events):
            seen.append(events)
            Dying()
        real(self, *events)

    monkeypatch.setattr(Emitter, "__call__", and_collect)
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words, "--split-rows", "40")
    assert result.code == 143
    assert "Traceback" not in result.err
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_signal_during_the_import_of_torch_is_deferred(iris: Example, tmp_path: Path) -> None:
    """Torch would abort the process for an exception."""
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


def test_what_is_called_before_the_end_cannot_prevent_it() -> None:
    """A second signal ends the process a second later, even if a disk does not answer."""
    code = (
        "import time; from scoreline.jobs.terminal import signals\n"
        "signals.listen(); signals.before_exit(lambda code: print(code, flush=True) or time.sleep(60))\n"
        "for _ in range(2):\n"
        "    try: print('ready', flush=True); time.sleep(30)\n"
        "    except BaseException: pass\n"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    for _ in range(2):
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=20)
    assert (running.returncode, out) == (143, "143\n")
