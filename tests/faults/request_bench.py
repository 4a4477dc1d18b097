"""An output in object storage, of which one request after the other is disturbed, and what must be true of it
afterwards."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from bench import DOCUMENTED, SIGKILLED, disturb_all
from forked_runs import ForkedRuns
from scoreline.pipeline.outputs.naming import rejects_name

from object_storage import LOSE, RESET, MotoStorage, Request

#: What may happen at a request: it is answered 503 once; its connection is closed before it is carried out, or after;
#: it takes a while; it and all later ones are refused; the run is killed before it is carried out, or after.
MODES = ("slow down", "reset", "lose", "delay", "refuse from", "kill before", "kill after")
#: Modes that a run survives.
SURVIVED = ("slow down", "reset", "lose", "delay")
DELAY_S = 0.05
#: How often a point is tried that depends on the order of threads.
TRIES = 5
#: What runs leave beside the parts and their records: the last lock, and a line of the history for each.
LEFT = re.compile(r"_scoreline/(lock/\d{8}\.(held|beat|released)|history/.*\.json)")


class Point(NamedTuple):
    """A request of a run: its method, its path and query, and its number among those that equal it. Other than its
    number among all requests, this hardly depends on the order of threads."""

    method: str
    path: str
    occurrence: int


NOWHERE = Point("", "", 0)


def point_path(request: Request) -> str:
    """The path of a request, with its query, without what differs from run to run."""
    path = re.sub(r"probe-[0-9a-f]+", "probe", f"{request.path}?{request.query}")
    return re.sub(r"history/[^?]+|(?<=uploadId=)[^&]+|(?<=continuation-token=)[^&]+", "…", path)


class RequestBench:
    """One output. After every fault, the next run must give the expected bytes and leave nothing else, `verify` must
    find no problem, and the run after it must have nothing to do.

    Args:
        prefix: of the output, which ends in `/`.
        commands: those of a run.
        earlier: a prefix with the objects of the output before each run; None: it is empty.
        wanted: what readers see of an undisturbed run.
        options: what to set in the processes of runs.

    Attributes:
        points: all requests of an undisturbed run, in their order.
    """

    def __init__(
        self, forked: ForkedRuns, storage: MotoStorage, prefix: str, commands: Sequence[list[str]], *,
        earlier: str | None, wanted: Mapping[str, bytes], options: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._forked, self._storage, self._prefix, self._commands = forked, storage, prefix, list(commands)
        self._earlier, self._wanted, self._options = earlier, wanted, options
        self._old = {} if earlier is None else visible(storage, earlier)
        self.points: list[Point] = []
        code, output, _ = self._run("count", NOWHERE)
        assert code == 0, output
        assert visible(storage, prefix) == wanted
        self._names = set(self._left())

    def sample(self, seed: str, count: int) -> list[Point]:
        """Some points, the same for the same seed."""
        return random.Random(seed).sample(self.points, count)

    def disturb_at(self, mode: str, points: Sequence[Point]) -> None:
        """Disturb a run at each of some points, and report all failures. Most points must be hit: how often an object
        is read depends on the order of threads."""
        disturb_all(points, lambda point: self._disturb(mode, point), what="requests", least=0.95)

    def _disturb(self, mode: str, point: Point) -> bool:
        """Disturb a run at a point, check what it leaves, run again, and compare. Returns whether the point was hit."""
        for _ in range(TRIES):
            code, output, hit = self._run(mode, point)
            if hit:
                break
        where = f"{mode} {point}: {output[-1500:]}"
        self._check_end(code, output, hit, mode, where)
        left = visible(self._storage, self._prefix)
        self._check_left(left, code, where)
        again = self._commands if "_SUCCESS" not in left else self._commands[-1:]  # shards cannot be finished twice
        verify = ["verify", f"{self._storage.uri}/{self._prefix}", "--json"]
        code, after = self._forked.run(self._order([*again, verify, self._commands[-1]]))
        assert code == 0, f"{where}\nthen: {after[-1500:]}"
        assert '"problems": []' in after, f"{where}\nthen: {after[-1500:]}"
        assert '"event": "nothing_to_do"' in after, f"{where}\nthen: {after[-1500:]}"
        assert visible(self._storage, self._prefix) == self._wanted, where
        assert set(self._left()) == self._names, f"{set(self._left()) ^ self._names} after {where}"
        shown = self._storage.service.shown([output, after, *self._storage.objects(self._prefix).values()])
        assert not shown, f"{shown} after {where}"
        return hit

    def _run(self, mode: str, point: Point) -> tuple[int, str, bool]:
        """Run over the output in its initial state, with a fault. Returns its exit code, what it printed, and whether
        it came to the point."""
        self._storage.replace(self._prefix, self._earlier)
        fault = _Fault(self._forked, mode, point)
        with self._storage.answering(fault):
            code, output = self._forked.run(self._order(self._commands))
        if mode == "count":
            self.points = fault.seen
        return code, output, fault.hit

    def _order(self, commands: Sequence[list[str]]) -> dict[str, Any]:
        return {"commands": commands, "forked": True, **self._options}

    def _left(self) -> list[str]:
        """The names of all objects of the output, without those of which each run leaves another."""
        return [name for name in self._storage.objects(self._prefix) if not LEFT.fullmatch(name)]

    def _check_end(self, code: int, output: str, hit: bool, mode: str, where: str) -> None:
        assert "Traceback" not in output, where
        if not hit or mode in SURVIVED:
            assert code == 0, f"code {code}: {where}"
        elif mode.startswith("kill"):
            assert code == SIGKILLED, f"code {code}: {where}"
        else:
            assert code in DOCUMENTED | {66}, f"code {code}: {where}"
            failures = re.findall(r'"event": "command_failed"', output)
            assert len(failures) == (code != 0), where

    def _check_left(self, left: dict[str, bytes], code: int, where: str) -> None:
        """Parts are complete: the old ones or the new ones. A new one has its rejects. `_SUCCESS` says that all are."""
        for name, found in left.items():
            if not name.endswith(".parquet"):
                continue
            assert found in (self._old.get(name), self._wanted.get(name)), f"{name} after {where}"
            rejects = rejects_name(name)
            if found != self._old.get(name) and rejects in self._wanted:
                assert left.get(rejects) == self._wanted[rejects], f"{rejects} after {where}"
        if code == 0 or ("_SUCCESS" in left and left != self._old):
            assert left == self._wanted, where


class _Fault:
    """The hook of the server during a run. `seen`: the requests that it has received."""

    def __init__(self, forked: ForkedRuns, mode: str, point: Point) -> None:
        self.seen: list[Point] = []
        self.hit = False
        self._forked, self._mode, self._point = forked, mode, point
        self._occurrences: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def __call__(self, request: Request) -> Any:
        """What happens to a request."""
        with self._lock:
            what = request.method, point_path(request)
            self._occurrences[what] += 1
            self.seen.append(Point(*what, self._occurrences[what]))
            here = self.seen[-1] == self._point
            self.hit = self.hit or here
        if self._mode == "refuse from" and self.hit:
            return REFUSAL
        return self._answer() if here else None

    def _answer(self) -> Any:
        if self._mode == "delay":
            time.sleep(DELAY_S)
        elif self._mode == "kill before":
            self._kill()
        return {
            "slow down": SLOW_DOWN, "reset": RESET, "lose": LOSE, "kill before": RESET, "kill after": self._kill
        }.get(self._mode)  # fmt: skip

    def _kill(self) -> None:
        self._forked.started.wait()
        os.kill(self._forked.pid, signal.SIGKILL)


def answer(status: str, code: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """An answer of a service that does not carry a request out."""
    body = f"<Error><Code>{code}</Code><Message>By the test.</Message></Error>".encode()
    return status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))], body


SLOW_DOWN, REFUSAL = answer("503 Slow Down", "SlowDown"), answer("403 Forbidden", "AccessDenied")


def visible(storage: MotoStorage, prefix: str) -> dict[str, bytes]:
    """What readers see, and the rejects; not the records of a particular run."""
    return {name: data for name, data in storage.objects(prefix).items() if not name.startswith("_scoreline/")}


#: Opens the bench for an output in some initial state, and a number of flows.
OpenRequestBench = Callable[[str, int], RequestBench]
