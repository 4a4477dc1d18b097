"""One SIGTERM ends a command within seconds, whatever it is doing: a model of many slow passes, one that never returns,
a log that nobody reads."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scoreline import Multiclass, save_bundle

#: A model that is slow for more rows than a sample has. `pthread_mutex_lock` does not return for a signal.
MODEL = """
import ctypes, os, time
from pathlib import Path
from torch import nn

class Slow(nn.Linear):
    def forward(self, x):
        if len(x) > 100 and "SLOW" in os.environ:
            Path(os.environ["STARTED"]).touch()
            if os.environ["SLOW"] == "passes":
                time.sleep(1)
            else:
                mutex = ctypes.create_string_buffer(64)
                for _ in range(2):
                    ctypes.CDLL(None).pthread_mutex_lock(mutex)
        return super().forward(x)

def make():
    return Slow(4, 2)
"""
ROWS = 100_000


@dataclass(frozen=True)
class Files:
    """A bundle that contains code, its digest, and rows to score."""

    folder: Path
    digest: str

    def start(self, name: str, *words: object, slow: str = "one call", stderr: int = subprocess.PIPE) -> "Started":
        """Start a command as a process, whose model creates a file when it is called."""
        mark = self.folder / f"{name} has begun"
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "SLOW": slow, "STARTED": str(mark)}
        call = [sys.executable, "-m", "scoreline", *map(str, words), "--bundle", str(self.folder / "bundle")]
        call += ["--input", str(self.folder / "in.parquet"), "--trust", self.digest]
        process = subprocess.Popen(call, cwd="/", env=environment, stdout=subprocess.DEVNULL, stderr=stderr, text=True)
        return Started(process, mark)


@dataclass(frozen=True)
class Started:
    """A process, and the file that exists once it has reached the point to interrupt."""

    process: subprocess.Popen[str]
    mark: Path

    def interrupt(self) -> None:
        """Wait for that file, then send SIGTERM."""
        deadline = time.monotonic() + 120
        while not self.mark.exists() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """A model behind an import path, saved before it becomes slow."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow_model_of_a_test.py").write_text(MODEL)
    sys.path.insert(0, str(folder))
    try:
        from slow_model_of_a_test import make  # type: ignore[import-not-found]

        frame = pd.DataFrame(np.random.default_rng(0).normal(size=(ROWS, 4)), columns=list("abcd"))
        model = make()
        digest = save_bundle(
            folder / "bundle",
            ("slow_model_of_a_test:make", model.state_dict()),
            features=list("abcd"),
            task=Multiclass(["u", "v"]),
            sample=frame.head(50),
        )
        frame.assign(y=np.where(np.arange(ROWS) % 2, "u", "v")).to_parquet(folder / "in.parquet", index=False)
        yield Files(folder, str(digest))
    finally:
        sys.path.remove(str(folder))


def test_between_the_passes_of_a_block(files: Files, tmp_path: Path) -> None:
    """A block of 32 passes of a second each: the run ends after one of them, and run.json records it."""
    started = files.start("passes", "score", "--output", tmp_path / "out", slow="passes")
    started.interrupt()
    _, stderr = started.process.communicate(timeout=25)
    assert started.process.returncode == 143, stderr
    assert "interrupted by signal 15" in stderr
    manifest = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    assert (manifest["status"], manifest["rows_in"]) == ("failed", 0)
    assert not [file for file in (tmp_path / "out").rglob("*") if file.name.endswith((".tmp", ".parquet"))]


def test_a_second_signal_ends_it_at_once(files: Files, tmp_path: Path) -> None:
    """With its own exit code, while the main thread is in a call that no signal interrupts."""
    started = files.start("twice", "calibrate", tmp_path / "calibrated", "--label", "y")
    started.interrupt()
    time.sleep(0.5)  # the kernel may deliver two pending signals in either order
    started.process.send_signal(signal.SIGINT)
    _, stderr = started.process.communicate(timeout=60)
    assert started.process.returncode == 130, stderr


def test_a_process_started_by_nohup() -> None:
    """SIGHUP stays ignored; SIGTERM does not."""
    code = (
        "import os, signal; from scoreline.jobs.terminal import signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); signals.guard(); signals.listen()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "except BaseException: os.kill(os.getpid(), signal.SIGHUP)\n"
        "signals.finish(5); os.kill(os.getpid(), signal.SIGHUP); os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd="/", check=False, timeout=60).returncode == 5


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("check", "bench")]
COMMANDS = ["score", "a full log", "calibrate", *LONG]


@pytest.fixture(scope="module")
def interrupted(
    files: Files, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Every command to test, all at once, since each takes the full grace period."""
    names = {item.callspec.params["name"] for item in request.session.items if "interrupted" in item.fixturenames}
    out = tmp_path_factory.mktemp("out")
    unread, full = os.pipe()
    os.set_blocking(full, False)
    while True:
        try:
            os.write(full, b"x" * 65536)
        except BlockingIOError:
            break
    os.set_blocking(full, True)
    calls = {
        "score": lambda: files.start("score", "score", "--output", out / "score"),
        "calibrate": lambda: files.start("calibrate", "calibrate", out / "calibrated", "--label", "y"),
        "check": lambda: files.start("check", "check"),
        "bench": lambda: files.start("bench", "bench", "--rounds", "1"),
        "a full log": lambda: Started(
            files.start("full", "score", "--output", out / "full", slow="passes", stderr=full).process,
            out / "full" / "_scoreline" / "lock",
        ),
    }
    started = {name: call() for name, call in calls.items() if name in names}
    for one in started.values():
        one.interrupt()
    yield {name: one.process for name, one in started.items()}
    for one in started.values():
        with one.process:  # closes its pipe: the test of a command may run in another process of pytest-xdist
            one.process.kill()
    os.close(unread)
    os.close(full)


@pytest.mark.parametrize("name", COMMANDS)
def test_calls_that_never_return(interrupted: dict[str, subprocess.Popen[str]], name: str) -> None:
    """A call of the model that no signal interrupts; a pipe on stderr that nobody reads."""
    process = interrupted[name]
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
