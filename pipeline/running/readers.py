"""One DataLoader for the whole run: an IterableDataset that yields whole blocks, in order, fed by threads.

Arrow and torch release the GIL, so threads read as fast as processes would, without copying and without 300 MB each.
Threads claim partitions in order, and each claimed partition has a queue with room for a few blocks; the dataset
empties the queues in order. So the order is that of the input, and memory is bounded by partitions in flight × room,
and by the bytes of waiting items. Independent of the contents of a block.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from torch.utils.data import DataLoader, IterableDataset

T = TypeVar("T")
#: Blocks of one partition that may wait for the forward pass.
ROOM = 2
#: Partitions that may be read ahead, in addition to those being read.
AHEAD = 2


class _Closed(Exception):  # noqa: N818 - a signal between threads, not an error
    """The run is over; ends a thread that waits for room."""


_END = object()


class Readers(IterableDataset[Any]):
    """Reader threads, as a context manager that ends all of them, even after an error elsewhere in the run.

    Args:
        partitions: in order; each is read by one thread from its first split to its last.
        read: yields the items of a partition. Runs in a reader thread; its exceptions are raised from the iteration,
            at the partition's position in the order.
        num_threads: how many partitions are read at once.
        max_bytes: limit for the total weight of waiting items; one item of the partition that is next in order may
            always wait.
        weigh: the size of an item in bytes.
    """

    def __init__(
        self,
        partitions: Sequence[T],
        read: Callable[[T], Iterator[object]],
        *,
        num_threads: int,
        max_bytes: int | None = None,
        weigh: Callable[[Any], int] = lambda _: 0,
    ) -> None:
        self._partitions = partitions
        self._read_one: Callable[[Any], Iterator[object]] = read
        self._changed = Condition()
        self._queues: dict[int, deque[Any]] = {}
        self._max_bytes, self._weigh, self._waiting_bytes = max_bytes, weigh, 0
        self._next_to_claim = 0
        self._front = 0
        self._closed = False
        self._window = num_threads + AHEAD
        self._threads = [
            Thread(target=self._read, name=f"reader-{number}", daemon=True)
            for number in range(min(num_threads, len(self._partitions)))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._queues.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[Any]:
        for _ in self._partitions:
            while (item := self._get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item
            with self._changed:
                del self._queues[self._front]
                self._front += 1
                self._changed.notify_all()

    def loader(self) -> DataLoader[Any]:
        """The DataLoader over these readers. Items are whole blocks, so it neither batches nor collates."""
        return DataLoader(self, batch_size=None, collate_fn=_unchanged)

    def _read(self) -> None:
        try:
            while (index := self._claim()) is not None:
                try:
                    for item in self._read_one(self._partitions[index]):
                        self._put(index, item)
                    self._put(index, _END)
                except _Closed:
                    raise
                except BaseException as error:
                    self._put(index, error)
        except _Closed:
            return

    def _claim(self) -> int | None:
        with self._changed:
            while not self._closed and self._next_to_claim - self._front >= self._window:
                self._changed.wait()
            if self._closed or self._next_to_claim == len(self._partitions):
                return None
            index = self._next_to_claim
            self._next_to_claim += 1
            self._queues[index] = deque()
            return index

    def _put(self, index: int, item: object) -> None:
        with self._changed:
            weight = self._weigh(item)
            while not self._closed and not self._has_room(index, weight):
                self._changed.wait()
            if self._closed:
                raise _Closed
            self._queues[index].append(item)
            self._waiting_bytes += weight
            self._changed.notify_all()

    def _has_room(self, index: int, weight: int) -> bool:
        queue = self._queues[index]
        if len(queue) >= ROOM or self._max_bytes is None:
            return len(queue) < ROOM
        return self._waiting_bytes + weight <= self._max_bytes or (index == self._front and not queue)

    def _get(self) -> Any:
        with self._changed:
            while not self._queues.get(self._front):
                self._changed.wait()
            item = self._queues[self._front].popleft()
            self._waiting_bytes -= self._weigh(item)
            self._changed.notify_all()
            return item


def _unchanged(item: Any) -> Any:
    return item
