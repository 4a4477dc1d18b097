"""Several runs into one output in object storage at the same time, some of which are killed, or frozen for longer than
their lock lives."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from bench import SIGKILLED
from forked_runs import ForkedRuns
from request_bench import visible

from conftest import Example
from object_storage import MotoStorage, Request

#: Of locks, in these runs; how much longer a frozen run is frozen, at least and at most.
LIFETIME_S, FROZEN = 1.5, (1.2, 4.0)
LATENCY_S = 0.002
#: How a run ends that was not killed: it is done, has lost its lock or found objects of another, or was not let in.
ENDS = {0, 74, 75}
#: The requests of a run, and those among them that write what readers see; rounds of the long test.
NUM_REQUESTS, NUM_WRITES, ROUNDS = 70, 9, 50
#: The options of runs that make the same parts, and of those that make others.
SAME, OTHER = (), ("--top-k", "2", "--split-rows", "50")

Runner = Callable[[int], ForkedRuns]


@dataclass(kw_only=True)
class Disturbed:
    """The hook of the server in a round: what happens to a runner at one of its requests.

    `plan`: by the id of a runner's key, the number of the request (of the write, if that is to be late), what happens,
    and for how long it is frozen.
    `mixtures`: how often there was a `_SUCCESS` over what no run makes.
    """

    storage: MotoStorage
    prefix: str
    whole: list[dict[str, str]]
    runners: dict[str, ForkedRuns]
    plan: dict[str, tuple[int, str, float]]
    mixtures: int = 0
    frozen: int = 0
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, request: Request) -> None:
        """Look at the output, and disturb the runner that sends the request."""
        time.sleep(LATENCY_S)
        at, what, seconds = self.plan.get(request.key_id, (0, "", 0.0))
        writes = request.method == "PUT" and "_scoreline/" not in request.path
        with self._lock:
            self.mixtures += not self.is_whole()
            self._seen[request.key_id] += writes or what != "late"
            if self._seen[request.key_id] != at or (what == "late" and not writes):
                return
        runner = self.runners[request.key_id]
        runner.started.wait()
        if what == "kill":
            os.kill(runner.pid, signal.SIGKILL)
            return
        self.frozen += 1
        os.kill(runner.pid, signal.SIGSTOP)
        if what == "freeze":  # its request is carried out
            ThreadPoolExecutor(1).submit(_thaw, runner, seconds)
        else:  # its request is as late as it is
            _thaw(runner, seconds)

    def is_whole(self) -> bool:
        """Whether the output is what one run makes, if it has a `_SUCCESS`."""
        found = digests(visible(self.storage, self.prefix))
        return "_SUCCESS" not in found or found in self.whole


def _thaw(runner: ForkedRuns, seconds: float) -> None:
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(runner.pid, signal.SIGCONT)


def digests(objects: dict[str, bytes]) -> dict[str, str]:
    """The digests of objects."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in objects.items()}


@dataclass(kw_only=True)
class Arena:
    """Runs of two kinds, `SAME` and `OTHER`, of the same input. `whole`: the digests of what readers see of an
    undisturbed run; `codes`: how the runs of all rounds have ended."""

    storage: MotoStorage
    runner: Runner
    words: list[str]
    whole: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    codes: Counter[int] = field(default_factory=Counter)

    def order(self, prefix: str, options: tuple[str, ...], **more: Any) -> dict[str, Any]:
        """What a runner is to do."""
        words = [*self.words, "--output", f"{self.storage.uri}/{prefix}", *options]
        return {
            "commands": [words],
            "forked": True,
            "flows": 2,
            "backoff_ms": 20,
            "lifetime_s": LIFETIME_S,
            **more,
        }

    def complete(self, prefix: str, options: tuple[str, ...]) -> dict[str, str]:
        """Make a run without any disturbance. Returns the digests of what readers see."""
        code, output = self.runner(0).run(self.order(prefix, options))
        assert code == 0, output
        return digests(visible(self.storage, prefix))

    def play(self, number: int, *, alternate: bool, num_runners: int) -> Disturbed:
        """A round: some runners at once. Checks how they end and what they leave, and that the next run repairs it."""
        draw, prefix = random.Random(f"{number} {alternate}"), f"round-{number}-{int(alternate)}/"
        kinds = [(SAME, OTHER)[alternate and index % 2] for index in range(num_runners)]
        if draw.random() < 0.5:
            self.storage.replace(prefix, "other/" if alternate else None)
        disturbed = Disturbed(
            storage=self.storage, prefix=prefix, whole=list(self.whole.values()),
            runners={f"runner-{index}": self.runner(index) for index in range(num_runners)},
            plan={f"runner-{index}": _plan(draw) for index in range(num_runners)},
        )  # fmt: skip
        elsewhere, pauses = draw.random() < 0.5, [draw.random() for _ in kinds]

        def start(index: int) -> tuple[int, str]:
            time.sleep(pauses[index])
            return self.runner(index).run(self.order(prefix, kinds[index], elsewhere=elsewhere))

        with self.storage.answering(disturbed), ThreadPoolExecutor(num_runners) as pool:
            ended = list(pool.map(start, range(num_runners)))
        for code, output in ended:
            assert code in ENDS | {SIGKILLED}, output[-3000:]
            assert "Traceback" not in output, output[-3000:]
        known = [part for whole in self.whole.values() for part in whole.items()]
        for name, digest in digests(visible(self.storage, prefix)).items():
            assert (name, digest) in known, f"{name} is torn; {disturbed.plan}"
        disturbed.mixtures += not disturbed.is_whole()
        self.codes.update(code for code, _ in ended)
        code, output = self.runner(0).run(self.order(prefix, SAME, elsewhere=False))
        assert code == 0, output[-3000:]
        assert digests(visible(self.storage, prefix)) == self.whole[SAME], disturbed.plan
        texts = [*(text for _, text in ended), output, *self.storage.objects(prefix).values()]
        assert not self.storage.service.shown(texts)
        self.storage.replace(prefix, None)
        return disturbed


def _plan(draw: random.Random) -> tuple[int, str, float]:
    """At which request something happens to a runner, what, and for how many seconds."""
    what = draw.choice(["", "kill", "freeze", "late"])
    at = draw.randint(1, NUM_WRITES) if what == "late" else draw.randrange(10, NUM_REQUESTS) if what else 0
    return at, what, draw.uniform(*FROZEN) * LIFETIME_S


@pytest.fixture
def arena(remote_storage: MotoStorage, runner: Runner, iris: Example, tmp_path: Path) -> Arena:
    """With an input of several splits and rejects."""
    frame = iris.frame.copy()
    frame.loc[[17, 90], iris.features[0]] = np.nan
    for name in "abc":
        frame.to_parquet(tmp_path / f"{name}.parquet", index=False, row_group_size=75)
    data, bundle = remote_storage.upload(tmp_path, "runners/"), remote_storage.upload(iris.bundle, "models/iris/")
    base = ["score", "--split-rows", "75", "--max-rejects", "9", "--log-format", "json", "--bundle", bundle]
    found = Arena(storage=remote_storage, runner=runner, words=[*base, "--input", data])
    found.whole = {SAME: found.complete("same/", SAME), OTHER: found.complete("other/", OTHER)}
    return found


def test_two_rounds(arena: Arena) -> None:
    """P9, P10, in short."""
    assert [arena.play(number, alternate=False, num_runners=2).mixtures for number in range(2)] == [0, 0]


@pytest.mark.long
@pytest.mark.parametrize("alternate", [False, True], ids=["same parts", "other parts"])
def test_many_rounds(arena: Arena, alternate: bool) -> None:
    """P9, P10: no part is torn or missing, and no `_SUCCESS` over a mixture, unless runs make different parts and one
    is frozen between a look and a request: then the next run repairs it."""
    draw = random.Random(5)
    played = [arena.play(number, alternate=alternate, num_runners=draw.randint(2, 4)) for number in range(ROUNDS)]
    mixed = sum(one.mixtures > 0 for one in played)
    print(f"{sum(one.frozen for one in played)} frozen; {mixed} of {ROUNDS} rounds with a mixture; {dict(arena.codes)}")  # noqa: T201 - for whoever runs it with -s
    assert alternate or not mixed
