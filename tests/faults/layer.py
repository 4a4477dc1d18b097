"""Runs of the command under a layer that fails, or kills them, at one of their filesystem calls.

The layer is `layer.c`, loaded with LD_PRELOAD, so that it sees what Python and Arrow call alike. A parent imports
everything once, and forks for every run: hundreds of them take minutes.
"""

import ctypes
import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = {"count": 0, "fail before": 1, "fail after": 2, "kill before": 3, "kill after": 4, "full from": 5}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended: its exit code, or minus the signal; its message; its calls below the output."""

    code: int
    output: str
    calls: list[str]


class Layer:
    """The parent process that forks runs, under the layer."""

    def __init__(self, library: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._parent = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"},
        )

    def run(self, *commands: list[str], below: Path, mode: str = "count", at: int = 0, error: int = errno.EIO) -> Ended:
        """Run commands one after the other in one process, up to the first that fails; at the call with the number `at`
        below a folder, do what `mode` says."""
        output, log = self._scratch / "output", self._scratch / "calls"
        order = {
            "commands": commands, "below": str(below), "mode": MODES[mode], "at": at, "error": error,
            "output": str(output), "log": str(log),
        }  # fmt: skip
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        code = int(self._parent.stdout.readline())
        return Ended(code=code, output=output.read_text(), calls=log.read_text().splitlines())

    def close(self) -> None:
        """End the parent process."""
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        assert self._parent.stdout is not None
        self._parent.stdout.close()
        self._parent.wait()


def build(folder: Path) -> Path:
    """Compile the layer. Raises OSError or CalledProcessError without a compiler."""
    library = folder / "layer.so"
    source = Path(__file__).with_name("layer.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def _serve() -> None:
    import pandas  # noqa: F401
    from scoreline.jobs import cli, score  # noqa: F401 - imported before the fork, once
    from scoreline.jobs.terminal import logs, progress, tables  # noqa: F401
    from scoreline.pipeline.evaluation import verify  # noqa: F401
    from scoreline.pipeline.running import score as scored  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(order, cli)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer to the order


def _run(order: dict[str, Any], cli: Any) -> None:
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        library = ctypes.CDLL(None)
        library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]
        library.faults_arm(order["below"].encode(), order["at"], order["mode"], order["error"], order["log"].encode())
        for words in order["commands"]:
            if code := cli.run(words):
                break
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
