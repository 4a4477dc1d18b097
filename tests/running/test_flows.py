"""Flows: the order of what is written, helping, bounds, errors, and a clean end."""

import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import StoppedError
from scoreline.pipeline.running.flows import Flows
from scoreline.pipeline.running.lanes import Lane

Item = tuple[int, int]


def alive() -> int:
    """The number of threads of flows that are still alive."""
    return sum(thread.name.startswith("flow-") for thread in threading.enumerate())


class Steps:
    """Works of some items each, which are scored as themselves. Records what was done, and by which thread."""

    def __init__(self, counts: list[int], *, score_s: float = 0.0, read_s: float = 0.0, fails: str = "") -> None:
        self.lock = threading.Lock()
        self.works = deque(enumerate(counts))
        self.score_s, self.read_s, self.fails = score_s, read_s, fails
        self.written: dict[int, list[Item]] = defaultdict(list)
        self.threads: dict[str, set[str]] = defaultdict(set)
        self.in_flight = self.most_in_flight = self.scoring = self.most_scoring = self.open = self.most_open = 0
        self.reading: set[int] = set()
        self.busy: set[Lane] = set()
        self.lanes: dict[int, set[Lane]] = defaultdict(set)
        self.stopped = False
        self.waited_s = 0.0

    def thread(self) -> AbstractContextManager[None]:
        return nullcontext()

    def claim(self) -> Iterator[Item] | None:
        with self.lock:
            return self.items(*self.works.popleft()) if self.works else None

    def items(self, work: int, count: int) -> Iterator[Item]:
        with self.lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        for number in range(count):
            assert work not in self.reading, "two threads read the same work"
            self.reading.add(work)
            self.at("read", (work, number))
            sleep(self.read_s)
            self.reading.discard(work)
            yield work, number
        with self.lock:
            self.open -= 1

    def at(self, step: str, item: Item) -> None:
        """Note the thread of a step, or fail in it."""
        self.threads[step].add(threading.current_thread().name)
        if self.fails == step and item[1] == 3:
            raise ValueError(f"broken in {step}")

    def num_bytes(self, item: Item) -> int:
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return 10

    def read(self, item: Item, waited_s: float) -> None:
        with self.lock:
            self.waited_s += waited_s

    def score(self, item: Item, lane: Lane) -> Item:
        self.at("score", item)
        flow = int(threading.current_thread().name.removeprefix("flow-"))
        with self.lock:
            assert lane not in self.busy, "two items on one lane"
            self.busy.add(lane)
            self.lanes[flow].add(lane)
            self.scoring += 1
            self.most_scoring = max(self.most_scoring, self.scoring)
        sleep(self.score_s)
        with self.lock:
            self.busy.discard(lane)
            self.scoring -= 1
        return item

    def scored(self, item: Item, waited_s: float) -> None:
        with self.lock:
            self.waited_s += waited_s

    def write(self, flow: int, item: Item, share: float) -> None:
        self.at("write", item)
        self.written[flow].append(item)
        with self.lock:
            self.in_flight -= 1

    def stop(self) -> None:
        self.stopped = True


def run(steps: Steps, **options: Any) -> Flows[Item, Item]:
    """Run flows to their end."""
    ended = threading.Event()
    settings = {"num_flows": 3, "max_bytes": 1 << 20, **options}
    with Flows[Item, Item](steps, **settings, ended=ended.set) as flows:
        assert ended.wait(30)
    assert not alive()
    return flows


@given(
    st.lists(st.integers(0, 9), max_size=8),
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 60),
)
def test_every_item_is_written_once_in_order(
    counts: list[int], flows: int, readers: int, lanes: list[int], max_bytes: int
) -> None:
    """For any number of flows and devices, whoever scores an item: the items of a work are written by one flow, in
    order. A flow scores on one device."""
    steps = Steps(counts)
    run(steps, num_flows=flows, num_readers=readers, num_lanes=lanes, max_bytes=max_bytes).check()
    written = [item for items in steps.written.values() for item in items]
    assert sorted(written) == [(work, item) for work, count in enumerate(counts) for item in range(count)]
    for items in steps.written.values():
        for work in {work for work, _ in items}:
            assert [item for each, item in items if each == work] == list(range(counts[work]))
    assert steps.most_open <= readers
    assert steps.most_scoring <= sum(lanes)
    for flow, used in steps.lanes.items():
        assert {lane.device for lane in used} == {flow % len(lanes)}
        assert all(lane.slot < lanes[lane.device] for lane in used)
    assert steps.in_flight == 0


def test_every_device_is_used() -> None:
    """One work, which only one thread at a time can read: flows of both devices score its items, each on a lane of its
    own."""
    steps = Steps([60], score_s=0.005)
    run(steps, num_flows=4, num_lanes=[2, 2]).check()
    assert dict(steps.lanes) == {flow: {Lane(flow % 2, flow // 2)} for flow in range(4)}


def test_flows_share_lanes_where_there_are_too_few() -> None:
    """All flows score, at most one at a time on each device."""
    steps = Steps([40, 40, 40, 40], score_s=0.002, read_s=0.002)
    run(steps, num_flows=4, num_lanes=[1, 1]).check()
    assert dict(steps.lanes) == {flow: {Lane(flow % 2, 0)} for flow in range(4)}
    assert steps.most_scoring == 2


def test_flows_without_work_help() -> None:
    """One work, which only one thread at a time can read: all threads score its items."""
    steps = Steps([60], score_s=0.005)
    run(steps, num_flows=4).check()
    assert len(steps.threads["score"]) == 4


def test_reading_goes_on_while_its_flow_scores() -> None:
    """Two threads, blocks that take as long to read as to score: another thread reads meanwhile."""
    steps = Steps([200], score_s=0.004, read_s=0.004)
    run(steps, num_flows=2).check()
    assert len(steps.threads["read"]) == 2


def test_items_in_flight_are_bounded_by_their_bytes() -> None:
    """While scoring is slow, no more is read than fits; each flow may have one."""
    steps = Steps([40, 40], score_s=0.002)
    run(steps, num_flows=2, num_lanes=[1], max_bytes=50).check()
    assert 2 <= steps.most_in_flight <= 5
    steps = Steps([40, 40, 40], score_s=0.002)
    run(steps, num_flows=3, num_lanes=[1], max_bytes=1).check()
    assert steps.most_in_flight <= 3


@pytest.mark.parametrize("step", ["read", "score", "write"])
def test_an_error_ends_every_thread(step: str) -> None:
    """It is raised by `check`, and the others are told to stop."""
    steps = Steps([50, 50, 50], score_s=0.001, fails=step)
    flows = run(steps)
    with pytest.raises(ValueError, match=f"broken in {step}"):
        flows.check()
    assert steps.stopped


def test_the_cause_is_raised() -> None:
    """Not the error of a thread that it has stopped, even if that one ends first."""
    begun, stopped = threading.Event(), threading.Event()

    class Failing(Steps):
        def score(self, item: Item, lane: Lane) -> Item:
            if item == (0, 3):
                begun.set()
                assert stopped.wait(10)
                raise ValueError("the cause")
            if item == (1, 3):
                assert begun.wait(10)
                raise StoppedError("an earlier block has failed")
            return super().score(item, lane)

        def stop(self) -> None:
            stopped.set()

    flows = run(Failing([50, 50]))
    with pytest.raises(ValueError, match="the cause"):
        flows.check()


def test_an_error_elsewhere_ends_every_thread() -> None:
    """Such as a signal in the thread that waits for the flows."""
    steps = Steps([10**6], score_s=0.001)

    def interrupted() -> None:
        with Flows[Item, Item](steps, num_flows=3, max_bytes=100, ended=lambda: None):
            sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps.stopped
    assert not alive()


def test_the_shares_add_up_to_the_time_of_the_run() -> None:
    """What flows spent on items, and what they spent idle, divided by their number."""
    steps = Steps([50], score_s=0.004, read_s=0.001)
    start = monotonic()
    flows = run(steps, num_flows=3)
    wall_s = monotonic() - start
    assert wall_s / 2 < steps.waited_s + flows.idle_s <= wall_s
