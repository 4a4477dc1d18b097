"""Several blocks at once, results in order. Knows nothing of a block but that it carries its `times`.

On a CPU every block runs on one intra-op thread and the cores are filled with several blocks: as fast as many
threads on one block (measured), and the last bits do not depend on how many cores there are. A GPU has a few
lanes, which keep its queue full.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeVar

from ..model.modes import pinned
from ..timing import StageTimes


class Timed(Protocol):
    """Anything that carries its own clock."""

    @property
    def times(self) -> StageTimes:
        """What it has cost so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """The stages that a wait is charged to: those that fill the queue in front of the lanes, and those that run in
    them."""

    loading: Sequence[str]
    scoring: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What may be in flight at once: a number of items, and of bytes unless one alone takes more."""

    depth: int
    most_bytes: int


Item = TypeVar("Item", bound=Timed)
Result = TypeVar("Result", bound=Timed)
Piece = TypeVar("Piece")


@contextmanager
def open_lanes(num_lanes: int, *, stop: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """Threads for as many blocks at once. Where the run ends early, blocks not yet begun are dropped, and `stop` is
    called for those that have."""
    pool = ThreadPoolExecutor(num_lanes, thread_name_prefix="lane")
    with pinned():
        try:
            yield pool
        except BaseException:  # a signal, too
            stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def decoding(num_threads: int) -> Iterator[ThreadPoolExecutor | None]:
    """Threads that decode images for all readers: Pillow lets go of the interpreter's lock. None for none."""
    if not num_threads:
        yield None
        return
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decoder")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(pieces: Generator[Piece], pool: ThreadPoolExecutor) -> Generator[Piece]:
    """The same, the next of them made by the pool while the last is worked on."""
    ahead: Future[Piece | None] = pool.submit(next, pieces, None)
    try:
        while (piece := ahead.result()) is not None:
            ahead = pool.submit(next, pieces, None)
            yield piece
    finally:
        if not ahead.cancel():
            wait([ahead])
        pieces.close()


def map_ordered(
    items: Iterable[Item],
    score: Callable[[Item], Result],
    pool: ThreadPoolExecutor,
    *,
    room: Room,
    weigh: Callable[[Item], int],
    waits: Waits,
) -> Iterator[Result]:
    """`score(item)` for every item, in the order of the items, no more of them in flight than there is room for.

    Args:
        weigh: what an item takes, in bytes.

    The seconds in which the caller could do nothing but wait are added to each result's `times`: for the
    loading stages where no item was there, for the scoring stages where its result was not ready.
    """
    in_flight: deque[tuple[Future[Result], int]] = deque()
    weight = 0
    source = iter(items)
    while True:
        start = perf_counter()
        item = next(source, None)
        if item is None:
            break
        item.times.waited(perf_counter() - start, waits.loading)
        own = weigh(item)
        while in_flight and weight + own > room.most_bytes:
            weight -= in_flight[0][1]
            yield _result(in_flight.popleft()[0], waits)
        in_flight.append((pool.submit(score, item), own))
        weight += own
        del item
        if len(in_flight) >= room.depth:
            weight -= in_flight[0][1]
            yield _result(in_flight.popleft()[0], waits)
    while in_flight:
        yield _result(in_flight.popleft()[0], waits)


def _result(future: "Future[Result]", waits: Waits) -> Result:
    start = perf_counter()
    result = future.result()
    result.times.waited(perf_counter() - start, waits.scoring)
    return result
