"""Several blocks at once, results in order. Knows nothing of a block but that it carries its `times`.

On a CPU every block runs on one intra-op thread and the cores are filled with several blocks: as fast as many
threads on one block (measured), and the last bits do not depend on how many cores there are. A GPU has a few
lanes, which keep its queue full.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol, TypeVar

from ..model.modes import pinned
from ..timing import StageTimes

#: The stages that fill the queue in front of the lanes, and those that run in them.
LOADING = ("read", "check", "images", "scale", "dedupe")
SCORING = ("transfer", "pad", "forward", "hidden", "decode", "explain")


class Timed(Protocol):
    """Anything that carries its own clock."""

    times: StageTimes


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


def one_ahead(pieces: Generator[Piece], pool: ThreadPoolExecutor) -> Generator[Piece]:
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


def in_order(
    items: Iterable[Item],
    score: Callable[[Item], Result],
    pool: ThreadPoolExecutor,
    *,
    depth: int,
    most_bytes: int,
    weigh: Callable[[Item], int],
) -> Iterator[Result]:
    """`score(item)` for every item, in the order of the items, at most `depth` of them in flight, which `weigh` no more
    than `most_bytes` together, unless one alone does.

    The seconds in which the caller could do nothing but wait are added to each result's `times`: for the
    loading stages where no item was there, for the scoring stages where its result was not ready.
    """
    flying: deque[tuple[Future[Result], int]] = deque()
    weight = 0
    source = iter(items)
    while True:
        start = perf_counter()
        item = next(source, None)
        if item is None:
            break
        item.times.waited(perf_counter() - start, LOADING)
        own = weigh(item)
        while flying and weight + own > most_bytes:
            weight -= flying[0][1]
            yield _landed(flying.popleft()[0])
        flying.append((pool.submit(score, item), own))
        weight += own
        del item
        if len(flying) >= depth:
            weight -= flying[0][1]
            yield _landed(flying.popleft()[0])
    while flying:
        yield _landed(flying.popleft()[0])


def _landed(future: "Future[Result]") -> Result:
    start = perf_counter()
    result = future.result()
    result.times.waited(perf_counter() - start, SCORING)
    return result
