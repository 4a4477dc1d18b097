"""Reader threads: order, bounds, errors, and an end without anyone left waiting."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.inputs.loader import AHEAD, ROOM, Readers
from scoreline.pipeline.records import Partition, Split


def splits(count: int) -> list[Split]:
    """One split each of so many files."""
    return [
        Split(partition=Partition(path=str(n), name=str(n), format="csv", size=1, mtime_ns=0)) for n in range(count)
    ]


def alive() -> int:
    """Reader threads that are still there."""
    return sum(thread.name.startswith("reader-") for thread in threading.enumerate())


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 4))
def test_items_come_in_the_order_of_the_splits(counts: list[int], num_threads: int) -> None:
    """Whatever thread read them."""

    def open_split(split: Split) -> Iterator[tuple[str, int]]:
        yield from ((split.partition.name, n) for n in range(counts[int(split.partition.name)]))

    with Readers(splits(len(counts)), open_split, num_threads=num_threads) as readers:
        items = list(readers.loader())
    assert items == [(str(part), n) for part, count in enumerate(counts) for n in range(count)]
    assert not alive()


def test_readers_run_ahead_only_so_far() -> None:
    """Nobody consumes: what is read stays within partitions in flight × room."""
    read: list[str] = []

    def open_split(split: Split) -> Iterator[str]:
        for _ in range(100):
            read.append(split.partition.name)
            yield split.partition.name

    with Readers(splits(50), open_split, num_threads=2) as readers:
        first = next(iter(readers))
        threading.Event().wait(0.2)
        assert first == "0"
        assert len(read) <= (2 + AHEAD) * (ROOM + 1) + 1
    assert not alive()


def test_an_error_is_raised_at_its_place_and_frees_every_thread() -> None:
    """Items before it have been handed on."""

    def open_split(split: Split) -> Iterator[str]:
        yield split.partition.name
        if split.partition.name == "1":
            raise ValueError("broken")
        while True:
            yield split.partition.name if split.partition.name != "0" else "0"
            if split.partition.name == "0":
                return

    seen = []

    def consume(readers: Readers) -> None:
        for item in readers.loader():
            seen.append(item)

    with Readers(splits(5), open_split, num_threads=3) as readers, pytest.raises(ValueError, match="broken"):
        consume(readers)
    assert seen == ["0", "0", "1"]
    assert not alive()


def test_leaving_early_leaves_no_thread_waiting() -> None:
    """A full queue in front of a consumer that is gone."""

    def open_split(split: Split) -> Iterator[int]:
        yield from range(10_000)

    with Readers(splits(3), open_split, num_threads=3) as readers:
        assert next(iter(readers.loader())) == 0
    assert not alive()
