"""publish: finished parts are digested and made visible by a few threads, while the flows go on."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from queue import Queue
from threading import Thread
from time import perf_counter
from types import TracebackType
from typing import Self

from ..events import Event
from ..outputs.part_file import PartFile, Published
from ..outputs.part_records import PartRecord
from ..planning.plan import PlannedPartition
from ..records import RowCounts, Split
from ..timing import StageTimes
from .events import SplitPublished
from .ledger import Ledger

#: Parts that may wait for a thread; a flow with another one waits itself.
MAX_WAITING = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A complete part that is not yet visible. `profile`: the bytes of its profile; None if rows are not counted."""

    part: PartFile
    planned: PlannedPartition
    split: Split
    counts: RowCounts
    times: StageTimes
    profile: bytes | None = None


class Publisher:
    """The threads, as a context manager that ends when every part that was submitted has been published, even if the
    run ends early: only an error of the disk leaves parts unpublished.

    Args:
        send: passes events to the thread that runs the job.
        num_threads: how many parts are published at once.
    """

    def __init__(self, ledger: Ledger, send: Callable[[Event], None], num_threads: int) -> None:
        self.send = send
        self._ledger = ledger
        self._waiting: Queue[Finished | None] = Queue(MAX_WAITING)
        self._error: BaseException | None = None
        self._threads = [
            Thread(target=self._run, name=f"publisher-{number}", daemon=True) for number in range(num_threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        start = perf_counter()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        times = StageTimes()
        times["publish"].waiting_s = perf_counter() - start
        self._ledger.add_times(times)
        if error is None:
            self._check()

    def submit(self, finished: Finished, share: float) -> None:
        """Publish a part, soon.

        Args:
            share: the share of the run that waits while there is no room.

        Raises:
            StorageError: an earlier part could not be published.
        """
        self._check()
        start = perf_counter()
        self._waiting.put(finished)
        times = StageTimes()
        times["publish"].waiting_s = (perf_counter() - start) * share
        self._ledger.add_times(times)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (finished := self._waiting.get()) is not None:
            if self._error is not None:
                finished.part.discard()
                continue
            try:
                self._publish(finished)
            except BaseException as error:
                self._error = error
                finished.part.discard()

    def _publish(self, finished: Finished) -> None:
        part, split, times = finished.part, finished.split, finished.times
        target = finished.planned.target(split)
        with times.stage("publish") as spent:
            published = part.publish(target)
            spent.bytes += published.num_bytes
            spent.rows += part.num_rows
        self._ledger.profiles.add(published.receipt, finished.profile)
        self._ledger.publish(finished.planned.partition, _record(target, finished, published))
        self._ledger.add_times(times)
        stages = times.summary(self._ledger.stage_names)
        self.send(SplitPublished.of(finished.planned.partition, split, part, stages))


def _record(target: str, finished: Finished, published: Published) -> PartRecord:
    part, split = finished.part, finished.split
    return PartRecord(
        target=target,
        split=split.index,
        last=split.last,
        sha256=published.sha256,
        receipt=published.receipt,
        rows_in=split.num_rows,
        rows_scored=part.num_rows,
        rows_rejected=part.num_rejects,
        **asdict(finished.counts),
        version=published.version,
    )
