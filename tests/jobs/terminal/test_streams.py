"""Commands whose stdout or stderr is full, closed, or has no reader: no traceback, the right code, the work done."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Result
from scoreline import Multiclass, save_bundle

Command = Callable[..., Result]
FULL = Path("/dev/full")
#: Words that show no more than the shorter list does.
MORE: list[list[object]] = [["--version"], ["score", "--help"], ["verify", "/nowhere"]]
LONG = [pytest.param(words, marks=pytest.mark.long) for words in MORE]
#: A model that prints, as a library may: by Python, and by the number of the stream.
MODEL = """
import os
from torch import nn

class Chatty(nn.Linear):
    def forward(self, x):
        print("forward", flush=True)
        for number in (1, 2):
            try:
                os.write(number, b"forward")
            except OSError:
                pass
        return super().forward(x)

def make():
    return Chatty(4, 2)
"""


def run(words: list[object], redirected: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command under a shell that redirects its streams."""
    call = [sys.executable, "-m", "scoreline", *map(str, words)]
    script = f'exec "$@" {redirected}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *call], capture_output=True, text=True, cwd="/", timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["--help"], ["nonsense"], *LONG])
def test_full(words: list[object]) -> None:
    """stdout on a full disk is an error of its own (74), below any other; stderr on one changes nothing."""
    usual = run(words, "")
    done = run(words, ">/dev/full")
    assert done.returncode == (usual.returncode or 74), done.stderr
    assert "Traceback" not in done.stderr
    assert usual.returncode or "stdout cannot be written: No space left on device" in done.stderr
    quiet = run(words, "2>/dev/full")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (usual.returncode, usual.stdout, "")
    assert run(words, ">/dev/full 2>/dev/full").returncode == done.returncode


@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["nonsense"], 2)])
def test_closed(words: list[object], code: int, redirected: str) -> None:
    """There is nobody to say anything to."""
    done = run(words, redirected)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["score", "--help"]])
def test_a_reader_that_leaves(words: list[object]) -> None:
    """As `scoreline --help | head -1`: all is well, and nothing is said."""
    reader, writer = os.pipe()
    os.close(reader)
    call = [sys.executable, "-m", "scoreline", *map(str, words)]
    done = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd="/", timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_that_takes_its_time() -> None:
    """Another process may have made a pipe non-blocking; all arrives, once there is room."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = "import sys; from scoreline.jobs.terminal import streams; streams.install(); print('x' * 300_000)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, cwd="/")
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"x" * 300_000 + b"\n"
    assert process.communicate(timeout=60) == (None, b"")


@pytest.mark.parametrize("redirected", ["<&- >&- 2>&-", pytest.param(">/dev/full", marks=pytest.mark.long)])
def test_a_model_that_prints(
    scoreline: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redirected: str
) -> None:
    """Its rows are no rejects over it, and what it prints goes into none of the files that are open."""
    (tmp_path / "chatty_model_of_a_test.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    from chatty_model_of_a_test import make  # type: ignore[import-not-found]

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 4)), columns=list("abcd"))
    digest = save_bundle(
        tmp_path / "b",
        ("chatty_model_of_a_test:make", make().state_dict()),
        features=list("abcd"),
        task=Multiclass(["u", "v"]),
        sample=frame.head(50),
    )
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--trust", digest]
    done = run([*words, "--output", tmp_path / "out"], redirected, PYTHONPATH=str(tmp_path))
    assert done.returncode == (74 if "full" in redirected else 0), done.stderr
    assert scoreline("verify", tmp_path / "out").code == 0
    assert scoreline(*words, "--output", tmp_path / "usual").code == 0
    assert (tmp_path / "out" / "in.parquet").read_bytes() == (tmp_path / "usual" / "in.parquet").read_bytes()
