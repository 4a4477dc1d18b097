"""Flows: threads that each take splits from the file to the published part, and help one another.

A flow reads the splits that it has claimed with a DataLoader of its own, passes their blocks through the line, and
writes them in order. In the usual case one thread does all of that, block by block, and flows share nothing but the
accounts. A flow that has nothing to read helps: it scores blocks of others, writes what they have scored, or reads on
for them. So one giant row group, or a CSV, which only one thread at a time can read, still uses every core.

Arrow, torch and NumPy release the GIL, so for blocks of many rows threads do as much as processes would, without
copying and without a model each. On a CPU a block runs on one intra-op thread: as fast as many threads on one block
(measured), and the last bits do not depend on the number of cores. With GPUs, each flow scores on one of them, and only
as many at once as it has lanes; the others read ahead. Memory is bounded by the bytes of blocks in flight. Independent
of what a block contains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import perf_counter
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from torch.utils.data import DataLoader, IterableDataset

from ..errors import StoppedError
from .lanes import Lane, Lanes

Read = TypeVar("Read")
Scored = TypeVar("Scored")


class Steps(Protocol[Read, Scored]):
    """What a flow does. All methods but `read` and `write` may be called by several threads at once.

    Seconds passed as `waited_s` are the share of the run that this flow spent on a step: its own seconds, divided by
    the number of flows.
    """

    def thread(self) -> AbstractContextManager[None]:
        """Entered by each thread while it runs."""

    def claim(self) -> Iterator[Read] | None:
        """The items of the next work, in order; None if there is none at present."""

    def num_bytes(self, item: Read) -> int:
        """The size of an item."""

    def read(self, item: Read, waited_s: float) -> None:
        """An item has been read."""

    def score(self, item: Read, lane: Lane) -> Scored:
        """Score an item on a lane, in any thread and order; no other item is scored on it meanwhile."""

    def scored(self, item: Scored, waited_s: float) -> None:
        """An item has been scored."""

    def write(self, flow: int, item: Scored, share: float) -> None:
        """Write an item: those of one flow are written in order, one at a time.

        Args:
            share: the share of the run that waits while one flow writes.
        """

    def stop(self) -> None:
        """End what the other threads are doing, soon."""


@dataclass(eq=False, slots=True)
class _Item(Generic[Read, Scored]):
    """An item in flight; `scored` once it is `done`."""

    read: Read
    num_bytes: int
    scored: Scored | None = None
    done: bool = False


@dataclass(eq=False, slots=True)
class _Flow(Generic[Read, Scored]):
    """`items`: in flight, in order; `unscored`: those of them that no thread has begun to score. `open`: whether its
    DataLoader may have more items; `reading`, `writing`: whether a thread is reading or writing its items."""

    number: int
    loader: Iterator[Read] | None = None
    open: bool = False
    reading: bool = False
    writing: bool = False
    last_bytes: int = 0
    items: deque[_Item[Read, Scored]] = field(default_factory=deque)
    unscored: deque[_Item[Read, Scored]] = field(default_factory=deque)


class Flows(Generic[Read, Scored]):
    """The threads, as a context manager that ends all of them, even after an error elsewhere in the run.

    Args:
        steps: what the flows do.
        num_flows: the number of threads.
        num_readers: how many of them may have a DataLoader at once; None: all.
        num_lanes: how many items each device scores at once; None: one device, where all flows may score.
        max_bytes: the limit for items in flight; each flow may always have one.
        ended: called when the last thread ends.
    """

    def __init__(
        self,
        steps: Steps[Read, Scored],
        *,
        num_flows: int,
        num_readers: int | None = None,
        num_lanes: Sequence[int] | None = None,
        max_bytes: int,
        ended: Callable[[], None],
    ) -> None:
        self._steps = steps
        self._flows: list[_Flow[Read, Scored]] = [_Flow(number) for number in range(num_flows)]
        self._lanes = Lanes([num_flows] if num_lanes is None else num_lanes)
        self._readers, self._open = num_flows if num_readers is None else num_readers, 0
        self._max_bytes, self._bytes = max_bytes, 0
        self._changed = Condition()
        self._idle = self._needing_room = 0
        self._idle_s = 0.0
        self._more_work = True
        self._stopped = False
        self._error: BaseException | None = None
        self._ended, self._running = ended, num_flows
        self._threads = [
            Thread(target=self._run, args=(flow,), name=f"flow-{flow.number}", daemon=True) for flow in self._flows
        ]

    @property
    def idle_s(self) -> float:
        """The seconds in which flows had nothing to do, divided by the number of flows."""
        return self._idle_s / len(self._flows)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raise the first exception in a flow."""
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._steps.stop()

    def _run(self, flow: _Flow[Read, Scored]) -> None:
        try:
            with self._steps.thread():
                while (action := self._next(flow)) is not None:
                    action()
        except BaseException as error:
            with self._changed:
                if self._error is None or isinstance(self._error, StoppedError):  # because of an error elsewhere
                    self._error = error
            self._stop()
        finally:
            with self._changed:
                flow.loader = None
                self._running -= 1
                last = not self._running
            if last:
                self._ended()

    def _next(self, flow: _Flow[Read, Scored]) -> Callable[[], None] | None:
        """What the thread of a flow does next: write, score, read, help; None if the run is over."""
        with self._changed:
            while not self._stopped:
                if (found := self._own_action(flow) or self._help(flow)) is not None:
                    return found
                if not (self._more_work or any(one.open or one.items for one in self._flows)):
                    self._changed.notify_all()
                    return None
                self._wait(flow)
            return None

    def _wait(self, flow: _Flow[Read, Scored]) -> None:
        start, needs_room = perf_counter(), int(flow.open)
        self._idle += 1
        self._needing_room += needs_room
        self._changed.wait()
        self._idle -= 1
        self._needing_room -= needs_room
        self._idle_s += perf_counter() - start

    def _own_action(self, flow: _Flow[Read, Scored]) -> Callable[[], None] | None:
        if self._is_ready(flow):
            return self._write_action(flow)
        may_open = self._more_work and self._open < self._readers
        may_read = (flow.open or may_open) and not flow.reading and self._has_room(flow)
        others_can_score = may_read and self._idle >= len(flow.unscored)
        if flow.unscored and self._lanes.has_free(flow.number) and not others_can_score:
            return self._score_action(flow, flow)
        return self._read_action(flow) if may_read else None

    def _help(self, flow: _Flow[Read, Scored]) -> Callable[[], None] | None:
        """Do what other flows have no time for: write, score a block of the flow with the most of them, or read."""
        for other in self._flows:
            if self._is_ready(other):
                return self._write_action(other)
        if self._lanes.has_free(flow.number):
            other = max(self._flows, key=lambda one: len(one.unscored))
            if other.unscored:
                return self._score_action(flow, other)
        for other in self._flows:
            if other.open and not other.reading and self._has_room(other):
                return self._read_action(other)
        return None

    def _is_ready(self, flow: _Flow[Read, Scored]) -> bool:
        """Whether the next item of a flow can be written."""
        return not flow.writing and bool(flow.items) and flow.items[0].done

    def _has_room(self, flow: _Flow[Read, Scored]) -> bool:
        return not flow.items or self._bytes + flow.last_bytes <= self._max_bytes

    def _read_action(self, flow: _Flow[Read, Scored]) -> Callable[[], None]:
        self._open += not flow.open
        flow.open = flow.reading = True
        return lambda: self._read(flow)

    def _read(self, flow: _Flow[Read, Scored]) -> None:
        start = perf_counter()
        if flow.loader is None and (claimed := self._steps.claim()) is not None:
            # Items are whole blocks, so it neither batches nor collates.
            loader: DataLoader[Any] = DataLoader(
                _Items(claimed, self._steps.claim), batch_size=None, collate_fn=_unchanged
            )
            flow.loader = iter(loader)
        item = None if flow.loader is None else next(flow.loader, None)
        if item is not None:
            self._steps.read(item, (perf_counter() - start) / len(self._flows))
        with self._changed:
            flow.reading = False
            if item is None:
                flow.open, flow.loader = False, None
                self._open -= 1
                self._more_work = False
                self._changed.notify_all()
                return
            self._more_work = True
            flow.last_bytes = self._steps.num_bytes(item)
            one: _Item[Read, Scored] = _Item(item, flow.last_bytes)
            self._bytes += one.num_bytes
            flow.items.append(one)
            flow.unscored.append(one)
            self._wake_one()

    def _wake_one(self) -> None:
        """Wake a thread that can go on; with several devices, not every thread can score what there is to score."""
        self._changed.notify(1 if self._lanes.num_devices == 1 else len(self._flows))

    def _score_action(self, scorer: _Flow[Read, Scored], owner: _Flow[Read, Scored]) -> Callable[[], None]:
        one, lane = owner.unscored.popleft(), self._lanes.take(scorer.number)
        if owner.open and not owner.reading:
            self._wake_one()  # another thread may read meanwhile
        return lambda: self._score(one, lane)

    def _score(self, one: _Item[Read, Scored], lane: Lane) -> None:
        start = perf_counter()
        scored = self._steps.score(one.read, lane)
        self._steps.scored(scored, (perf_counter() - start) / len(self._flows))
        with self._changed:
            one.scored, one.done = scored, True
            self._lanes.give_back(lane)
            self._wake_one()

    def _write_action(self, flow: _Flow[Read, Scored]) -> Callable[[], None]:
        flow.writing = True
        return lambda: self._write(flow)

    def _write(self, flow: _Flow[Read, Scored]) -> None:
        while True:
            with self._changed:
                if self._stopped or not flow.items or not flow.items[0].done:
                    flow.writing = False
                    if self._needing_room or not flow.items:
                        self._changed.notify_all()
                    return
                one = flow.items.popleft()
            assert one.scored is not None, "it is done"
            self._steps.write(flow.number, one.scored, 1 / len(self._flows))
            with self._changed:
                self._bytes -= one.num_bytes


class _Items(IterableDataset[Any]):
    """The items of the work that a flow has claimed, then of what it claims next."""

    def __init__(self, claimed: Iterator[Any], claim: Callable[[], Iterator[Any] | None]) -> None:
        self._claimed, self._claim = claimed, claim

    def __iter__(self) -> Iterator[Any]:
        items: Iterator[Any] | None = self._claimed
        while items is not None:
            yield from items
            items = self._claim()


def _unchanged(item: Any) -> Any:
    return item
