"""Reader threads: order, bounds, errors, and a clean end."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.running.readers import AHEAD, ROOM, Readers


def alive() -> int:
    """The number of reader threads that are still alive."""
    return sum(thread.name.startswith("reader-") for thread in threading.enumerate())


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 4))
def test_items_come_in_the_order_of_the_partitions(counts: list[int], num_threads: int) -> None:
    """Regardless of which thread read them."""

    def read_one(n: int) -> Iterator[tuple[int, int]]:
        yield from ((n, item) for item in range(counts[n]))

    with Readers(range(len(counts)), read_one, num_threads=num_threads) as readers:
        items = list(readers.loader())
    assert items == [(n, item) for n, count in enumerate(counts) for item in range(count)]
    assert not alive()


def test_reading_ahead_is_bounded() -> None:
    """Without a consumer, no more is read than partitions in flight × room."""
    read: list[str] = []

    def read_one(n: int) -> Iterator[str]:
        for _ in range(100):
            read.append(str(n))
            yield str(n)

    with Readers(range(50), read_one, num_threads=2) as readers:
        first = next(iter(readers))
        threading.Event().wait(0.2)
        assert first == "0"
        assert len(read) <= (2 + AHEAD) * (ROOM + 1) + 1
    assert not alive()


def test_an_error_is_raised_in_order_and_ends_every_thread() -> None:
    """All items before it are yielded first."""

    def read_one(n: int) -> Iterator[str]:
        yield str(n)
        if n == 1:
            raise ValueError("broken")
        while True:
            yield str(n)
            if n == 0:
                return

    seen = []

    def consume(readers: Readers) -> None:
        for item in readers.loader():
            seen.append(item)

    with Readers(range(5), read_one, num_threads=3) as readers, pytest.raises(ValueError, match="broken"):
        consume(readers)
    assert seen == ["0", "0", "1"]
    assert not alive()


def test_threads_end_if_the_consumer_stops_early() -> None:
    """Even with full queues."""

    def read_one(n: int) -> Iterator[int]:
        yield from range(10_000)

    with Readers(range(3), read_one, num_threads=3) as readers:
        assert next(iter(readers.loader())) == 0
    assert not alive()


def test_waiting_items_are_bounded_by_their_weight() -> None:
    """Without a consumer, only one heavy item waits, of the partition that is next; all items are yielded in order."""
    read: list[int] = []

    def read_one(n: int) -> Iterator[int]:
        for item in range(4):
            read.append(n)
            yield 10 * n + item

    with Readers(range(4), read_one, num_threads=3, max_bytes=10, weigh=lambda _: 7) as readers:
        threading.Event().wait(0.2)
        assert len(read) <= 1 + 3
        assert list(readers.loader()) == [10 * n + item for n in range(4) for item in range(4)]
    assert not alive()
