"""The publisher: every part that was submitted is published, unless the disk fails."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from scoreline.pipeline.errors import StorageError
from scoreline.pipeline.outputs.part_file import Published
from scoreline.pipeline.records import RowCounts, Split
from scoreline.pipeline.running.profiles import PartProfiles
from scoreline.pipeline.running.publisher import MAX_WAITING, Finished, Publisher
from scoreline.pipeline.timing import StageTimes

DIGEST = "sha256:" + "0" * 64
THREADS = 4


class Part:
    """A finished part of three rows, whose publishing may wait or fail."""

    num_rows, num_rejects = 3, 0

    def __init__(self, *, after: threading.Event | None = None, fails: bool = False) -> None:
        self.after, self.fails = after, fails
        self.target: str | None = None
        self.discarded = False

    def publish(self, target: str) -> Published:
        if self.after is not None:
            assert self.after.wait(30)
        if self.fails:
            raise StorageError("the disk is full")
        self.target = target
        return Published(sha256=DIGEST, receipt=DIGEST, num_bytes=9)

    def discard(self) -> None:
        self.discarded = True


class Books:
    """Records what the ledger is told."""

    stage_names = ("publish",)

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.times = StageTimes()
        self.profiles = PartProfiles()

    def publish(self, partition: object, record: Any) -> None:
        self.records.append(record)

    def add_times(self, times: StageTimes) -> None:
        self.times.add(times)


def finished(part: Part, split: int) -> Finished:
    """The part of a split."""
    planned: Any = SimpleNamespace(partition=SimpleNamespace(name="a"), target=lambda one: f"a-{one.index}.parquet")
    given: Any = part
    return Finished(
        part=given,
        planned=planned,
        split=Split(index=split, first_row=0, num_rows=3, last=False),
        counts=RowCounts(),
        times=StageTimes(),
        profile=b"counts",
    )


def publish(parts: list[Part], ledger: Books, events: list[Any], *, error: type[BaseException] | None = None) -> None:
    """Submit parts, then end the run, perhaps by an error elsewhere."""
    books: Any = ledger
    with Publisher(books, events.append, THREADS) as publisher:
        for split, part in enumerate(parts):
            publisher.submit(finished(part, split), 1.0)
        if error is not None:
            raise error


def test_every_part_is_published_before_the_end() -> None:
    """More than may wait; each is recorded and reported once."""
    parts, ledger, events = [Part() for _ in range(5 * MAX_WAITING)], Books(), []
    publish(parts, ledger, events)
    assert [part.target for part in parts] == [f"a-{split}.parquet" for split in range(len(parts))]
    assert sorted(record.split for record in ledger.records) == list(range(len(parts)))
    assert sorted(event.split for event in events) == list(range(len(parts)))
    assert ledger.profiles.get(DIGEST) == b"counts"
    assert (ledger.times["publish"].rows, ledger.times["publish"].bytes) == (3 * len(parts), 9 * len(parts))


def test_parts_are_published_also_if_the_run_ends_early() -> None:
    """They are complete, and the next run would only score them again."""
    parts = [Part() for _ in range(4)]
    with pytest.raises(KeyboardInterrupt):
        publish(parts, Books(), [], error=KeyboardInterrupt)
    assert all(part.target for part in parts)


def test_a_disk_that_fails() -> None:
    """The error is raised at the end or at the next part; parts that wait are discarded, and nothing is recorded."""
    failed = threading.Event()
    parts = [Part(after=failed, fails=True) for _ in range(THREADS)] + [Part() for _ in range(3)]
    ledger: Any = Books()
    publisher = Publisher(ledger, lambda _: None, THREADS)

    def submit_all() -> None:
        with publisher:
            for split, part in enumerate(parts):
                publisher.submit(finished(part, split), 1.0)
            failed.set()

    with pytest.raises(StorageError, match="the disk is full"):
        submit_all()
    assert all(part.discarded for part in parts)
    assert ledger.records == []
