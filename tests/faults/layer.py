"""Runs of the command under a layer that fails, or kills them, at one of their filesystem calls.

The layer is `layer.c`, loaded with LD_PRELOAD, so that it sees what Python and Arrow call alike.
"""

import ctypes
import errno
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from forked_runs import ForkedRuns, serve, set_flows

MODES = {"count": 0, "fail before": 1, "fail after": 2, "kill before": 3, "kill after": 4, "full from": 5}


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
    """Forks runs under the layer."""

    def __init__(self, library: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._runs = ForkedRuns(scratch, {**os.environ, "LD_PRELOAD": str(library)}, __file__)
        self.warm_up, self.close = self._runs.warm_up, self._runs.close

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
        code, output = self._runs.run(order)
        whole, _, _ = log.read_text().rpartition("\n")  # a kill may leave a part of the last line
        lines = whole.splitlines()
        hit = any(line.startswith("hit\t") for line in lines)
        return Ended(code=code, output=output, calls=_calls(lines), hit=hit)


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


def _arm(order: dict[str, Any]) -> None:
    """Let the layer do what an order says in this process."""
    set_flows(order["flows"])
    library = ctypes.CDLL(None)
    text, number = ctypes.c_char_p, ctypes.c_int
    library.faults_arm.argtypes = [text, text, text, ctypes.c_long, number, number, text]
    call, path, occurrence = order["point"]
    library.faults_arm(
        order["below"].encode(), call.encode(), path.encode(), occurrence, order["mode"], order["error"],
        order["log"].encode(),
    )  # fmt: skip


if __name__ == "__main__":
    serve(_arm)
