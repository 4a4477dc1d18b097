"""write → publish, in the thread that runs the job: one part file at a time, in order. Independent of how rows are read
and scored."""

from ...schemas.run import PartRecord, Receipt
from ..errors import PartitionError
from ..events import Emitter
from ..inputs.discover import is_unchanged
from ..outputs.naming import part_name, rejects_name
from ..outputs.part_file import PartFile, Published
from ..outputs.store import Store
from ..planning.fingerprint import fingerprint
from ..planning.plan import PlannedPartition
from ..records import Partition, Split
from ..timing import StageTimes
from .events import BlockWritten, PartitionFailed, SplitPublished
from .flow import ScoredBlock, SplitEnd
from .ledger import Ledger


class Publisher:
    """Writes blocks into part files and publishes them, in order, in the calling thread."""

    def __init__(self, store: Store, ledger: Ledger, emit: Emitter) -> None:
        self._store, self._ledger, self._emit = store, ledger, emit
        self._num_rows = ledger.num_rows()
        self._part: PartFile | None = None
        self._out_of_bounds = 0
        self._times = StageTimes()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *raised: object) -> None:
        if self._part is not None:
            self._part.discard()
        self._close_split()

    def write(self, item: ScoredBlock) -> None:
        """Write the rows and rejects of one block, unless its partition has failed."""
        if item.planned.partition.name in self._ledger.errors:
            return
        self._times.add(item.times)
        rows, rejects = item.scored.rows, item.scored.rejects
        self._out_of_bounds += item.scored.out_of_bounds
        self._ledger.reject(rejects)
        self._ledger.enforce_reject_budget(self._num_rows)
        with self._times.blocking_stage("write") as spent:
            self._open(item.planned, item.split).write(rows, rejects)
            spent.rows += rows.num_rows
            spent.bytes += rows.nbytes
        self._emit(BlockWritten(rows=item.num_rows))

    def publish(self, end: SplitEnd) -> None:
        """Publish the part of a finished split; if the input file has changed, the partition fails instead."""
        partition, split = end.planned.partition, end.split
        if partition.name in self._ledger.errors:
            return
        self._times.add(end.times)
        if not is_unchanged(partition):
            self.fail(_changed_error(partition))
            return
        part = self._open(end.planned, split.index)
        assert part.num_rows + part.num_rejects == split.num_rows, "a row was lost or duplicated"
        target = end.planned.target(split)
        with self._times.blocking_stage("publish") as spent:
            published = part.publish(target, self._receipt(end, part))
            spent.bytes += published.num_bytes
            spent.rows += part.num_rows
        self._part = None
        self._ledger.publish(partition, _record(target, split, part, published, self._out_of_bounds))
        self._emit(SplitPublished.of(partition, split, part, self._times.summary(self._ledger.stage_names)))
        self._close_split()

    def fail(self, error: PartitionError) -> None:
        """Record a failed partition and discard its current split; the run goes on."""
        if error.partition in self._ledger.errors:
            return
        rejected = 0
        if self._part is not None:
            rejected = self._part.num_rejects
            self._part.discard()
        self._part = None
        self._ledger.fail(error, rejected=rejected)
        self._emit(PartitionFailed(partition=error.partition, reason=str(error)))
        self._close_split()

    def _open(self, planned: PlannedPartition, split: int) -> PartFile:
        if self._part is None:
            self._part = PartFile(
                self._store,
                name=part_name(planned.partition.name, split, several=True),
                schema=planned.schema,
                read=planned.read_with_hive,
            )
        return self._part

    def _close_split(self) -> None:
        self._ledger.clock.times.add(self._times)
        self._times, self._out_of_bounds = StageTimes(), 0

    def _receipt(self, end: SplitEnd, part: PartFile) -> Receipt:
        ledger, split = self._ledger, end.split
        return Receipt(
            fingerprint=fingerprint(end.planned.partition, split.first_row, ledger.bundle.digest, ledger.job),
            root=ledger.plan.discovery.real_root,
            split=split.index,
            last=split.last,
            num_keys=end.planned.num_keys,
            rows_in=split.num_rows,
            rows_scored=part.num_rows,
            rows_rejected=part.num_rejects,
            rejects=None,
            out_of_bounds=self._out_of_bounds,
            made_with=ledger.made_with(),
        )


def _changed_error(partition: Partition) -> PartitionError:
    """The error for an input file that changed during the run."""
    return PartitionError(
        f"{partition.name}: changed while it was read, so its rows are not published; run the same command again",
        partition=partition.name,
    )


def _record(target: str, split: Split, part: PartFile, published: Published, out_of_bounds: int) -> PartRecord:
    return PartRecord(
        target=target,
        split=split.index,
        last=split.last,
        sha256=published.sha256,
        receipt=published.receipt,
        rows_in=split.num_rows,
        rows_scored=part.num_rows,
        rows_rejected=part.num_rejects,
        rejects=rejects_name(target) if part.num_rejects else None,
        out_of_bounds=out_of_bounds,
    )
