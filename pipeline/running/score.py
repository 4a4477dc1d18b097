"""Scores every split of a plan, in several flows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Lock

from ..errors import ScorelineError
from ..events import Emitter, Event
from ..features.tokenizer import one_thread_per_call
from ..inputs.cut import MOST_BLOCK_BYTES
from ..model.modes import pinned
from ..outputs.store import Store
from ..scoring.line import Line, LineOptions, compose
from ..scoring.retries import Retries
from ..scoring.scorer import Scorer
from ..scoring.together import are_alike
from ..timing import StageTimes
from .blocks import (
    Loaded,
    LoadedBlock,
    LoadedFiles,
    Scored,
    ScoredBlock,
    ScoredFiles,
    load_blocks,
    load_files,
    score_block,
)
from .decoders import open_decoders
from .events import OutOfMemory
from .findings import block_retried
from .flows import Flows
from .lanes import Lane
from .ledger import Ledger
from .publisher import Publisher
from .work import Work, WorkQueue, are_small_objects, num_readers
from .writer import Writer

#: The limit for blocks in flight, unless one block for each flow takes more.
MAX_IN_FLIGHT_BYTES = 96 << 20
#: So many flows more wait for requests where inputs are small objects.
FLOWS_FOR_OBJECTS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What is reported at the end of a run: by the stages of its line, and about retried blocks."""

    line: Line
    retries: Retries


def score_splits(store: Store, scorer: Scorer, ledger: Ledger, emit: Emitter, cores: int) -> Summary:
    """Score every split of the plan and publish it. Emits events in the calling thread.

    Raises:
        ScorelineError: the run cannot go on; every part that was finished before is published.
    """
    options = LineOptions.of(ledger.job)
    num_flows, readers, max_bytes = _bounds(scorer, ledger, cores)
    threads = readers < min(num_flows, cores)  # for reading, where others would have nothing to do
    lines = _lines(scorer, options, num_flows, cores)
    line = lines[0][0]  # the stages of all have the same names, and share what they report
    events: SimpleQueue[Event | None] = SimpleQueue()
    retries = Retries(lambda first: events.put(block_retried(first)))
    with ExitStack() as held:
        held.enter_context(pinned())
        if scorer.loaded.encoders:
            held.enter_context(one_thread_per_call())
        if (decoders := held.enter_context(open_decoders(cores if line.opens_files else 0))) is not None:
            options = replace(options, mapper=decoders.map)
        try:
            with Publisher(ledger, events.put, store.num_publishers(num_flows)) as publisher:
                queue = WorkQueue(ledger.plan.partitions)
                layout = scorer.loaded.layout
                writers = [Writer(store, ledger, publisher, queue, retries, layout) for _ in range(num_flows)]
                steps = _Steps(scorer, ledger, lines, options, queue, writers, events.put, threads)
                flows = Flows(
                    steps, num_flows=num_flows, num_readers=readers, max_bytes=max_bytes,
                    num_lanes=[len(lanes) for lanes in lines], ended=lambda: events.put(None),
                )  # fmt: skip
                try:
                    with flows:
                        for event in iter(events.get, None):
                            emit(event)
                    flows.check()
                finally:
                    steps.close()
                    for writer in writers:
                        writer.close()
        except ScorelineError:
            _emit_rest(events, emit)
            raise
        _emit_rest(events, emit)
    _add_idle(ledger, flows.idle_s, (*line.load_names, *line.score_names))
    return Summary(line=line, retries=retries)


def _bounds(scorer: Scorer, ledger: Ledger, cores: int) -> tuple[int, int, int]:
    """The number of flows, how many of them read at once, and the bytes of the blocks in flight: one flow per core, one
    for each block that a GPU has in hand, and those that wait for small objects, within the memory limit. Results do
    not depend on any of them."""
    flows, memory = cores + sum(one.extra_flows for one in scorer.devices), ledger.job.memory_bytes
    partitions = ledger.plan.partitions
    max_bytes = max(MAX_IN_FLIGHT_BYTES, flows * MOST_BLOCK_BYTES)
    if are_small_objects(partitions):
        flows += min(FLOWS_FOR_OBJECTS, len(partitions))
    if memory is None:
        return flows, num_readers(partitions, flows), max_bytes
    columns = max(len(planned.columns.read.names) for planned in partitions)
    block_bytes = ledger.block_rows * (8 * columns + 4 * scorer.loaded.values_per_row())
    flows = max(1, min(flows, memory // block_bytes))
    return flows, num_readers(partitions, flows, memory), memory


def _lines(scorer: Scorer, options: LineOptions, num_flows: int, cores: int) -> list[list[Line]]:
    """For each device, a line for each block that it may have in flight: one for each of its flows, or fewer where its
    free memory does not hold as many blocks. On a CPU, all flows share a line, as many at once as there are cores."""
    flows, lines = -(-num_flows // len(scorer.replicas)), []
    for loaded in scorer.replicas:
        room = loaded.device.room(loaded.block_bytes)
        if room is None:
            lines.append([compose(loaded, options)] * min(flows, cores))
        else:
            lines.append([compose(one, options) for one in loaded.on_lanes(max(1, min(flows, room)))])
    return lines


def _emit_rest(events: SimpleQueue[Event | None], emit: Emitter) -> None:
    """Emit what the publisher has sent after the flows ended."""
    while not events.empty():
        if (event := events.get()) is not None:
            emit(event)


def _add_idle(ledger: Ledger, idle_s: float, stages: tuple[str, ...]) -> None:
    """Add the time of flows without anything to do to the stages that they waited for, by how much work these are."""
    times = StageTimes()
    for stage in stages:
        times[stage].busy_s = ledger.clock.times[stage].busy_s
    times.waited(idle_s, stages)
    for stage in stages:
        times[stage].busy_s = 0.0
    ledger.add_times(times)


class _Steps:
    """The steps of a run's flows (`flows.Steps`)."""

    def __init__(
        self,
        scorer: Scorer,
        ledger: Ledger,
        lines: list[list[Line]],
        options: LineOptions,
        queue: WorkQueue,
        writers: list[Writer],
        send: Callable[[Event], None],
        threads: bool,
    ) -> None:
        self._scorer, self._ledger, self._lines, self._options = scorer, ledger, lines, options
        self._line = lines[0][0]
        self._queue, self._writers, self._send = queue, writers, send
        self._threads = threads
        self._reading: dict[Work, Generator[Loaded]] = {}
        self._together = are_alike(scorer.loaded, self._line)
        self._halved: int | None = None
        self._lock = Lock()

    def thread(self) -> AbstractContextManager[None]:
        """Set the modes of torch for scoring once, not for each block."""
        return pinned()

    def claim(self) -> Iterator[Loaded] | None:
        """The blocks of the next work."""
        works = self._queue.claim_files(len(self._writers), together=self._together)
        if not works:
            return None
        line, new_times = compose(self._scorer.loaded, self._options), self._ledger.clock.times.fresh
        block_rows, first = self._ledger.block_rows, works[0]
        if len(works) == 1:
            blocks = load_blocks(
                first.planned, line, block_rows, first.splits, first.first_rows, threads=self._threads,
                new_times=new_times,
            )  # fmt: skip
        else:
            blocks = load_files(works, line, block_rows, new_times=new_times)
        self._reading[first] = blocks
        return self._load(works, blocks)

    def _load(self, works: Sequence[Work], blocks: Generator[Loaded]) -> Iterator[Loaded]:
        yield from blocks
        for work in works:
            self._queue.finish(work)
        del self._reading[works[0]]

    def close(self) -> None:
        """Close the files that are still open because the run ends early."""
        for blocks in self._reading.values():
            blocks.close()

    def num_bytes(self, item: Loaded) -> int:
        """The size of a block."""
        return item.num_bytes if isinstance(item, LoadedBlock | LoadedFiles) else 0

    def read(self, item: Loaded, waited_s: float) -> None:
        """Divide the time among the loading stages."""
        item.times.waited(waited_s, self._line.load_names)

    def score(self, item: Loaded, lane: Lane) -> Scored:
        """Score a block on a lane of a device."""
        return score_block(item, self._lines[lane.device][lane.slot], self._scorer.loaded.layout)

    def scored(self, item: Scored, waited_s: float) -> None:
        """Divide the time among the scoring stages; report memory that ran out."""
        if not isinstance(item, ScoredBlock | ScoredFiles):
            return
        item.times.waited(waited_s, self._line.score_names)
        with self._lock:
            known = [loaded.members.max_rows_in_memory for loaded in self._scorer.replicas]
            halved = min((rows for rows in known if rows is not None), default=None)
            if halved != self._halved:
                self._halved = halved
                self._send(OutOfMemory(rows_at_once=halved))

    def write(self, flow: int, item: Scored, share: float) -> None:
        """Write an item into the part of its split."""
        self._writers[flow].write(item, share)

    def stop(self) -> None:
        """End passes that are being computed."""
        for loaded in self._scorer.replicas:
            loaded.members.stop()
