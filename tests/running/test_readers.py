"""Reader threads: order, bounds, errors, and an end without anyone left waiting."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.running.readers import AHEAD, ROOM, Readers


def alive() -> int:
    """Reader threads that are still there."""
    return sum(thread.name.startswith("reader-") for thread in threading.enumerate())


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 4))
def test_items_come_in_the_order_of_the_partitions(counts: list[int], num_threads: int) -> None:
    """Whatever thread read them."""

    def read_one(n: int) -> Iterator[tuple[int, int]]:
        yield from ((n, item) for item in range(counts[n]))

    with Readers(range(len(counts)), read_one, num_threads=num_threads) as readers:
        items = list(readers.loader())
    assert items == [(n, item) for n, count in enumerate(counts) for item in range(count)]
    assert not alive()


def test_readers_run_ahead_only_so_far() -> None:
    """Nobody consumes: what is read stays within partitions in flight × room."""
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


def test_an_error_is_raised_at_its_place_and_frees_every_thread() -> None:
    """Items before it have been handed on."""

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


def test_leaving_early_leaves_no_thread_waiting() -> None:
    """A full queue in front of a consumer that is gone."""

    def read_one(n: int) -> Iterator[int]:
        yield from range(10_000)

    with Readers(range(3), read_one, num_threads=3) as readers:
        assert next(iter(readers.loader())) == 0
    assert not alive()


def test_what_waits_is_bounded_by_its_weight() -> None:
    """Nobody consumes: heavy items wait one at a time, of the partition whose turn it is, and all come in order."""
    read: list[int] = []

    def read_one(n: int) -> Iterator[int]:
        for item in range(4):
            read.append(n)
            yield 10 * n + item

    with Readers(range(4), read_one, num_threads=3, most_bytes=10, weigh=lambda _: 7) as readers:
        threading.Event().wait(0.2)
        assert len(read) <= 1 + 3
        assert list(readers.loader()) == [10 * n + item for n in range(4) for item in range(4)]
    assert not alive()
