"""Scores several blocks at once, with results in order. Uses only the `times` of a block.

On a CPU every block runs on one intra-op thread, and several blocks use all cores: as fast as many threads on one block
(measured), and the last bits do not depend on the number of cores. A GPU has a few lanes, which keep its queue full.
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
    """Anything with its own clock."""

    @property
    def times(self) -> StageTimes:
        """The stage times so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """The stages that waiting time is added to: those that fill the queue before the lanes, and those that run in the
    lanes."""

    loading: Sequence[str]
    scoring: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """The limits for items in flight: their number, and their bytes, except that one item may always be in flight."""

    depth: int
    max_bytes: int


Item = TypeVar("Item", bound=Timed)
Result = TypeVar("Result", bound=Timed)
Piece = TypeVar("Piece")


@contextmanager
def open_lanes(num_lanes: int, *, stop: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that score blocks. If the run ends early, blocks that have not started are cancelled, and
    `stop` is called to end the others."""
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
def open_decoders(num_threads: int) -> Iterator[ThreadPoolExecutor | None]:
    """A pool of threads that decode images for all readers, since Pillow releases the GIL; None for 0 threads."""
    if not num_threads:
        yield None
        return
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decoder")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(pieces: Generator[Piece], pool: ThreadPoolExecutor) -> Generator[Piece]:
    """Yield the same pieces, with the next one computed in the pool while the current one is processed."""
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
    """`score(item)` for every item, in the order of the items, with no more in flight than `room` allows.

    Adds the seconds that the caller waited to each result's `times`: to the loading stages while no item was ready, to
    the scoring stages while the result was not ready.

    Args:
        weigh: the size of an item in bytes.
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
        while in_flight and weight + own > room.max_bytes:
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
