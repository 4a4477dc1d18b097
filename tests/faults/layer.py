"""Runs of the command under a layer that fails, or kills them, at one of their filesystem calls.

The layer is `layer.c`, loaded with LD_PRELOAD, so that it sees what Python and Arrow call alike. A parent imports
everything once, makes a first run, after which torch and Arrow are initialised, and forks for every other run: hundreds
of them take minutes.
"""

import ctypes
import errno
import faulthandler
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

MODES = {"count": 0, "fail before": 1, "fail after": 2, "kill before": 3, "kill after": 4, "full from": 5}
#: After how many seconds a run counts as hung.
HUNG_S = 120


class Point(NamedTuple):
    """A call of a run: its name, its path below the output (`.` for the output itself), and its number among the calls
    of this name on this path. Other than its number among all calls, this does not depend on the order of threads."""

    call: str
    path: str
    occurrence: int


NOWHERE = Point("", "", 0)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that took effect: its point, the source of a rename, and the lines of the log at which it began and
    ended; `ended` is None if the run was killed first, or the call failed."""

    point: Point
    source: str
    began: int
    ended: int | None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended: its exit code, or minus the signal; its message; its calls below the output, in the order in
    which they began; whether it came to the point where it was to be disturbed."""

    code: int
    output: str
    calls: list[Call]
    hit: bool


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

    def warm_up(self, command: list[str]) -> None:
        """Make a first run, in the parent itself."""
        code = self._answer({"commands": [command], "forked": False})
        assert code == 0, (self._scratch / "output").read_text()

    def run(
        self,
        *commands: list[str],
        below: Path,
        flows: int,
        mode: str = "count",
        point: Point = NOWHERE,
        error: int = errno.EIO,
    ) -> Ended:
        """Run commands one after the other in one process, up to the first that fails; at a point below a folder, do
        what `mode` says."""
        log = self._scratch / "calls"
        order = {
            "commands": commands, "forked": True, "flows": flows, "below": str(below), "point": point,
            "mode": MODES[mode], "error": error, "log": str(log),
        }  # fmt: skip
        code = self._answer(order)
        lines = log.read_text().splitlines()
        hit = any(line.startswith("hit\t") for line in lines)
        return Ended(code=code, output=(self._scratch / "output").read_text(), calls=_calls(lines), hit=hit)

    def _answer(self, order: dict[str, Any]) -> int:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps({**order, "output": str(self._scratch / "output")}) + "\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

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


def _calls(lines: list[str]) -> list[Call]:
    """The calls of a log. A thread is in one call at a time."""
    calls: list[Call] = []
    open_in: dict[str, int] = {}
    occurrences: Counter[tuple[str, str]] = Counter()
    for number, line in enumerate(lines):
        what, thread, name, path, source = line.split("\t")
        if what == "ends":
            began = calls[open_in[thread]]
            calls[open_in[thread]] = Call(point=began.point, source=source, began=began.began, ended=number)
            continue
        occurrences[name, path] += 1
        open_in[thread] = len(calls)
        calls.append(Call(point=Point(name, path, occurrences[name, path]), source=source, began=number, ended=None))
    return calls


def _serve() -> None:
    import pandas  # noqa: F401
    from scoreline.jobs import cli, score  # noqa: F401 - imported before the fork, once
    from scoreline.jobs.terminal import logs, progress, tables  # noqa: F401
    from scoreline.pipeline.evaluation import verify  # noqa: F401
    from scoreline.pipeline.running import score as scored  # noqa: F401
    from tqdm import tqdm

    # Its own lock is shared with forked processes: one that is killed while it has the lock would keep it.
    tqdm.set_lock(RLock())
    with os.fdopen(os.dup(1), "w") as answers:
        for line in sys.stdin:
            order = json.loads(line)
            code = _fork(order, cli) if order["forked"] else _run(order, cli)
            print(code, file=answers, flush=True)


def _fork(order: dict[str, Any], cli: Any) -> int:
    """Run commands in another process, under the layer."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            faulthandler.dump_traceback_later(HUNG_S, exit=True, file=2)
            _set_flows(order["flows"])
            code = _run(order, cli)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run(order: dict[str, Any], cli: Any) -> int:
    """Run commands in this process, whose output goes to a file from now on. Arms the layer if there is a point."""
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    if order["forked"]:
        _arm(order)
    try:
        return next((code for words in order["commands"] if (code := cli.run(words))), 0)
    finally:
        sys.stderr.flush()


def _arm(order: dict[str, Any]) -> None:
    library = ctypes.CDLL(None)
    text, number = ctypes.c_char_p, ctypes.c_int
    library.faults_arm.argtypes = [text, text, text, ctypes.c_long, number, number, text]
    call, path, occurrence = order["point"]
    library.faults_arm(
        order["below"].encode(), call.encode(), path.encode(), occurrence, order["mode"], order["error"],
        order["log"].encode(),
    )  # fmt: skip


def _set_flows(flows: int) -> None:
    """Let a run start as many flows as it would on this number of cores."""
    from scoreline.pipeline.cores import Cores
    from scoreline.pipeline.running import run

    run.available_cores = lambda: Cores(count=flows, limited_by="the test")


if __name__ == "__main__":
    _serve()
