"""write: the blocks of one flow, in order, into the part file of their split. Independent of how rows are read and
scored."""

from dataclasses import asdict

from ...schemas.run import Receipt
from ..errors import PartitionError, changed_error
from ..inputs.discover import is_unchanged
from ..monitoring.count import ProfileBuilder
from ..monitoring.layout import Layout
from ..monitoring.profile import encode_profile
from ..outputs.naming import part_name
from ..outputs.part_file import PartFile
from ..outputs.store import Store
from ..planning.fingerprint import Fingerprints
from ..planning.plan import PlannedPartition
from ..records import RowCounts
from ..scoring.retries import Retries
from ..storage.ranges import refuse_gone_service
from .blocks import ReadFailed, Scored, ScoredBlock, ScoredFiles, SplitEnd
from .events import BlockWritten, PartitionFailed
from .ledger import Ledger
from .publisher import Finished, Publisher
from .work import WorkQueue


class Writer:
    """Writes the items of one flow, and hands finished parts to the publisher. Used by one thread at a time.

    Args:
        layout: of the profile; None if rows are not counted.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        publisher: Publisher,
        queue: WorkQueue,
        retries: Retries,
        layout: Layout | None = None,
    ) -> None:
        self._store, self._ledger, self._publisher = store, ledger, publisher
        self._queue, self._retries, self._layout = queue, retries, layout
        self._fingerprints = Fingerprints(ledger.bundle.digest, ledger.job, ledger.plan.engines)
        self._part: PartFile | None = None
        self._counts = RowCounts()
        self._profile = self._new_profile()
        self._times = ledger.clock.times.fresh()

    def write(self, item: Scored, share: float) -> None:
        """Write an item. `share`: the share of the run that waits meanwhile."""
        self._times.add(item.times)
        match item:
            case ScoredFiles():
                for one in item.items:
                    self.write(one, share)
            case ScoredBlock():
                self._write_block(item, share)
            case SplitEnd():
                self._finish_split(item, share)
            case ReadFailed():
                refuse_gone_service(item.planned.partition.path, item.error)
                self._fail(item.planned, item.split, item.error)

    def close(self) -> None:
        """Discard a part that was not finished, because the run ends early."""
        if self._part is not None:
            self._part.discard()
        self._close_split()

    def _write_block(self, item: ScoredBlock, share: float) -> None:
        rows, rejects = item.scored.rows, item.scored.rejects
        self._counts += item.scored.counts
        if self._profile is not None and item.sample is not None:
            with self._times.blocking_stage("profile", share):
                self._profile.add(item.sample)
        elif self._profile is not None and item.profile is not None:
            self._profile.add_counted(item.profile)
        self._ledger.reject(rejects)
        self._retries.add(
            item.scored.retried, source=item.planned.partition.name, first_row=item.first_row, rows=item.num_rows
        )
        with self._times.blocking_stage("write", share) as spent:
            self._open(item.planned, item.split).write(rows, rejects)
            spent.rows += rows.num_rows
            spent.bytes += rows.nbytes
        self._publisher.send(BlockWritten(rows=item.num_rows))

    def _finish_split(self, end: SplitEnd, share: float) -> None:
        """Finish the part of a split; if the input file has changed, the partition fails instead. What is read of an
        object is all of the version with its ETag."""
        partition, split = end.planned.partition, end.split
        if partition.etag is None and not is_unchanged(partition):
            self._fail(end.planned, split.index, changed_error(partition.name))
            return
        part = self._open(end.planned, split.index)
        assert part.num_rows + part.num_rejects == split.num_rows, "a row was lost or duplicated"
        profile = self._encoded_profile(share)
        with self._times.blocking_stage("write", share):
            part.finish(self._receipt(end, part), profile)
        finished = Finished(
            part=part, planned=end.planned, split=split, counts=self._counts, times=self._times, profile=profile
        )
        self._publisher.submit(finished, share)  # where it raises, the part is discarded with this writer
        self._part, self._times, self._counts = None, self._times.fresh(), RowCounts()
        self._profile = self._new_profile()

    def _new_profile(self) -> ProfileBuilder | None:
        """The profile of a split; None if rows are not counted."""
        return None if self._layout is None else ProfileBuilder(self._layout)

    def _encoded_profile(self, share: float) -> bytes | None:
        """The bytes of the split's profile; None if rows are not counted."""
        if self._profile is None or self._layout is None:
            return None
        with self._times.blocking_stage("profile", share):
            return encode_profile(self._profile.build(), self._layout)

    def _fail(self, planned: PlannedPartition, split: int, error: PartitionError) -> None:
        """Record a failed partition and discard its current split; later ones are not begun, and the run goes on."""
        rejected = 0
        if self._part is not None:
            rejected = self._part.num_rejects
            self._part.discard()
        self._part = None
        self._queue.fail(planned, split)
        if self._ledger.fail(error, rejected=rejected):
            self._publisher.send(PartitionFailed(partition=error.partition, reason=str(error)))
        self._close_split()

    def _open(self, planned: PlannedPartition, split: int) -> PartFile:
        if self._part is None:
            self._part = PartFile(
                self._store,
                name=part_name(planned.partition.name, split, several=True),
                schema=planned.columns.schema,
                read=planned.columns.read_with_hive,
            )
        return self._part

    def _close_split(self) -> None:
        self._ledger.add_times(self._times)
        self._times, self._counts, self._profile = self._times.fresh(), RowCounts(), self._new_profile()

    def _receipt(self, end: SplitEnd, part: PartFile) -> Receipt:
        ledger, split = self._ledger, end.split
        return Receipt(
            fingerprint=self._fingerprints.of(end.planned.partition, split.first_row),
            root=ledger.plan.discovery.real_root,
            split=split.index,
            last=split.last,
            num_keys=end.planned.columns.num_keys,
            rows_in=split.num_rows,
            rows_scored=part.num_rows,
            rows_rejected=part.num_rejects,
            rejects=None,
            **asdict(self._counts),
            made_with=ledger.made_with(),
        )
