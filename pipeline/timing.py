"""Stage clocks: seconds, rows and bytes by the name of a stage.

Two figures per stage. `busy_s`: seconds of work, summed over threads. `waiting_s`: the stage's share of the wall time:
the seconds that each flow spent on it or waited for it, divided by the number of flows, and those in which the whole
run waited. The waiting times of all stages and the start-up add up to the wall time, so the largest one is the
bottleneck.

Work done in a thread carries its own `StageTimes` along with the rows, so that nothing is shared or locked.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType


@dataclass(kw_only=True, slots=True)
class StageTime:
    """The cost of one stage so far."""

    busy_s: float = 0.0
    waiting_s: float = 0.0
    rows: int = 0
    bytes: int = 0


#: Receives each piece of work, in the thread that did it: the stage, when it began (`perf_counter`), and its seconds.
Recorder = Callable[[str, float, float], object]


class _Timed(AbstractContextManager[StageTime]):
    """Adds the time between entering and leaving to a stage. Not a generator: that takes twice as long, ten times for
    each block."""

    __slots__ = ("_name", "_recorder", "_share", "_spent", "_start")

    def __init__(self, name: str, spent: StageTime, share: float, recorder: Recorder | None) -> None:
        self._name, self._spent, self._share, self._recorder = name, spent, share, recorder

    def __enter__(self) -> StageTime:
        self._start = perf_counter()
        return self._spent

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = perf_counter() - self._start
        self._spent.busy_s += seconds
        self._spent.waiting_s += seconds * self._share
        if self._recorder is not None:
            self._recorder(self._name, self._start, seconds)


@dataclass(slots=True)
class StageTimes:
    """The cost of every stage, for a block, a split or a run. `recorder`: also receives every piece of work."""

    stages: dict[str, StageTime] = field(default_factory=dict)
    recorder: Recorder | None = None

    def fresh(self) -> "StageTimes":
        """A clock at zero with the same recorder."""
        return StageTimes(recorder=self.recorder)

    def __getitem__(self, stage: str) -> StageTime:
        if (found := self.stages.get(stage)) is None:
            found = self.stages[stage] = StageTime()
        return found

    def stage(self, name: str) -> AbstractContextManager[StageTime]:
        """Time a piece of work. On a GPU, the code inside must synchronise the device before it ends."""
        return _Timed(name, self[name], 0.0, self.recorder)

    def blocking_stage(self, name: str, share: float = 1.0) -> AbstractContextManager[StageTime]:
        """Time a piece of work that the run, or a share of it, waits for."""
        return _Timed(name, self[name], share, self.recorder)

    def waited(self, seconds: float, stages: Sequence[str]) -> None:
        """Record that the run waited for `seconds` for these stages, which share a thread. The time is divided in
        proportion to the work that each did for the current block."""
        busy = [self[stage].busy_s for stage in stages]
        total = sum(busy)
        for stage, work in zip(stages, busy, strict=True):
            self[stage].waiting_s += seconds * (work / total if total > 0 else 1 / len(stages))

    def add(self, other: "StageTimes") -> None:
        """Add the measurements of another clock."""
        for name, spent in other.stages.items():
            mine = self[name]
            mine.busy_s += spent.busy_s
            mine.waiting_s += spent.waiting_s
            mine.rows += spent.rows
            mine.bytes += spent.bytes

    def summary(self, names: Sequence[str]) -> dict[str, StageTime]:
        """The stages with these names, in this order, including those without any cost."""
        return {name: self[name] for name in names}


def verdict(stages: Mapping[str, StageTime], startup_s: float, wall_s: float) -> str:
    """A sentence: what the run waited for most, and for what share of the time."""
    waits = {"start-up": startup_s} | {name: spent.waiting_s for name, spent in stages.items()}
    first, second = sorted(waits, key=lambda name: -waits[name])[:2]
    wall = max(wall_s, 1e-9)
    return (
        f"waited for {first} {waits[first] / wall:.0%} of {wall_s:.1f} s, then for {second} {waits[second] / wall:.0%}"
    )
