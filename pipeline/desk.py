"""write → publish, in the thread that runs the job: one part file at a time, in order. Knows nothing of how rows
are read or scored.
"""

from dataclasses import dataclass

from ..schemas.run import Receipt
from .errors import PartitionError
from .inputs.discover import is_unchanged
from .ledger import Ledger, versions
from .outputs.part_file import PartFile
from .outputs.store import Store
from .plan import PlannedSplit
from .records import ScoredBatch
from .resume import fingerprint
from .timing import StageTimes
from .watch import Watcher, say_failed, say_split


@dataclass(kw_only=True, slots=True)
class ScoredBlock:
    """A block on its way to the part file."""

    planned: PlannedSplit
    block: ScoredBatch
    num_rows: int
    times: StageTimes


@dataclass(kw_only=True, slots=True)
class SplitEnd:
    """All blocks of a split have gone by; `error` where its file could not be read to the end."""

    planned: PlannedSplit
    rows_in: int
    error: PartitionError | None
    times: StageTimes


class Desk:
    """write → publish, in the calling thread: one part file at a time, in order."""

    def __init__(self, store: Store, ledger: Ledger, watcher: Watcher) -> None:
        self._store, self._ledger, self._watcher = store, ledger, watcher
        self._num_rows = ledger.num_rows()
        self._part: PartFile | None = None
        self._times = StageTimes()

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *raised: object) -> None:
        if self._part is not None:
            self._part.discard()
        self._close_split()

    def write(self, item: ScoredBlock) -> None:
        """Rows and rejects of one block."""
        self._times.add(item.times)
        self._ledger.reject(item.block.rejects)
        self._ledger.hold_budget(self._num_rows)
        with self._times.stage_in_front("write") as spent:
            self._open(item.planned).write(item.block.rows, item.block.rejects)
            spent.rows += item.block.rows.num_rows
            spent.bytes += item.block.rows.nbytes
        self._watcher.advance(item.num_rows)

    def publish(self, end: SplitEnd) -> None:
        """The split is through: make it visible, or drop it where its file could not be read."""
        self._times.add(end.times)
        partition = end.planned.partition
        if end.error is None and not is_unchanged(partition):
            end.error = PartitionError(
                f"{partition.name}: changed while it was read, so what was read is not published; run again",
                partition=partition.name,
            )
        if end.error is not None:
            rejected = 0
            if self._part is not None:
                rejected = self._part.num_rejects
                self._part.discard()
            self._part = None
            self._ledger.fail(end.error, target=end.planned.target, rejected=rejected)
            say_failed(self._watcher, end.error)
            self._close_split()
            return
        part = self._open(end.planned)
        assert part.num_rows + part.num_rejects == end.rows_in, "a row was lost or doubled"
        receipt = _receipt(end, part, self._ledger)
        with self._times.stage_in_front("publish") as spent:
            digest, size = part.publish(receipt)
            spent.bytes += size
            spent.rows += part.num_rows
        self._part = None
        self._ledger.publish(end.planned, scored=part.num_rows, rejected=part.num_rejects, sha256=digest)
        say_split(self._watcher, end.planned, part, self._times)
        self._close_split()

    def _open(self, planned: PlannedSplit) -> PartFile:
        if self._part is None:
            self._part = PartFile(
                self._store,
                target=planned.target,
                rejects=planned.rejects,
                schema=planned.schema,
                read=planned.read_with_hive,
            )
        return self._part

    def _close_split(self) -> None:
        self._ledger.times.add(self._times)
        self._times = StageTimes()


def _receipt(end: SplitEnd, part: PartFile, ledger: Ledger) -> Receipt:
    return Receipt(
        fingerprint=fingerprint(end.planned.partition, ledger.bundle.digest, ledger.job.columns),
        split=end.planned.split.index,
        last=end.planned.split.last,
        rows_in=end.rows_in,
        rows_scored=part.num_rows,
        rows_rejected=part.num_rejects,
        rejects=None,
        made_with={"device": ledger.device.partition(":")[0], "batch_rows": str(ledger.block_rows), **versions()},
    )
