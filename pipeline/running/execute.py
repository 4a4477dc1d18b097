"""Executes a plan: an engine loads the bundle if there is something to score, and scores every split; what was done is
recorded. The same for a whole run and for a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle
from ..cores import Cores
from ..events import Emitter, Event
from ..options import ScoreJob
from ..outputs.manifest import write_manifest
from ..outputs.store import RUN_FILES, SUCCESS, RecordFiles, Store
from ..planning.plan import Plan
from ..records import Partition
from .commit import check_parts_exist, remove_replaced_parts, write_manifest_at_end
from .drift import profile_run, refuse_drift
from .events import BundleLoaded, PartitionFailed, ScoringStarted, TemporariesRemoved
from .findings import kept_part_differences, new_inputs
from .ledger import Ledger, RunClock, open_ledger
from .local import LocalEngine
from .profiles import PartProfiles

if TYPE_CHECKING:
    from ..model.devices import Device
    from ..monitoring.layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """How an engine has loaded the bundle. `devices`: those of this process that score; `layout`: of the profiles, None
    if it was not opened here."""

    event: BundleLoaded
    devices: Sequence[Device] = ()
    layout: Layout | None = None


class Engine(Protocol):
    """What scores the splits of a run, of which this process keeps the accounts. Used for one run."""

    def begin(self, execution: Execution, inputs: Sequence[Partition]) -> None:
        """Start what takes a while, if these inputs, which will be planned meanwhile, are to be scored."""

    def load(self, execution: Execution, plan: Plan) -> Loaded:
        """Load the bundle wherever splits will be scored, and emit how that went."""

    def score(self, execution: Execution, ledger: Ledger) -> Iterable[Event]:
        """Score every split of the ledger's plan, publish it, and record it in the ledger.

        Returns:
            What the stages report once the output is complete.

        Raises:
            ScorelineError: the run cannot go on; every part that was finished before is published.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """What a run or a shard has in hand once its output is locked. `held`: ends with it; `files`: where it records
    what it has done; `engine`: what scores its splits."""

    job: ScoreJob
    bundle: Bundle
    store: Store
    clock: RunClock
    cores: Cores
    emit: Emitter
    held: ExitStack
    files: RecordFiles = RUN_FILES
    engine: Engine = field(default_factory=LocalEngine)

    def score(self, plan: Plan, complete: Callable[[Execution, Ledger], None]) -> RunManifest:
        """Score every split of the plan.

        Args:
            complete: called when every split has been published.

        Returns:
            The manifest, as it was written.

        Raises:
            ScorelineError: parts that were published before are kept, and there is no `_SUCCESS`.
        """
        loaded = self.engine.load(self, plan) if plan.partitions else None
        event, devices = (None, ()) if loaded is None else (loaded.event, loaded.devices)
        ledger = open_ledger(self.job, plan, self.bundle, event, self.clock, devices)
        if loaded is not None:
            ledger.profiles = PartProfiles(loaded.layout)
            self.emit(*kept_part_differences(plan.existing.made_with, ledger.made_with()))
        if plan.partitions or self.files == RUN_FILES:  # a shard without work leaves the output as it is
            self._begin(plan.existing.to_remove)
        self.emit(ScoringStarted(rows=plan.num_rows))
        with write_manifest_at_end(self.store, ledger, self.emit, self.files) as written:
            ledger.keep_existing()
            for error in plan.failed:
                self.emit(PartitionFailed(partition=error.partition, reason=str(error)))
                ledger.fail(error)
            summary = () if loaded is None else self._score(ledger)
            complete(self, ledger)
            self.emit(*summary)
        assert written.manifest is not None, "it is written before the block ends"
        return written.manifest

    def _begin(self, to_remove: Iterable[str]) -> None:
        """Remove `_SUCCESS`, some parts, and the temporaries of killed runs unless shards are at work. A damaged part
        may have intact pages, and one of an input that changed the same fingerprint: once they are no longer recorded,
        they could be taken for those of a killed run."""
        self.store.remove(SUCCESS)
        for name in to_remove:
            self.store.remove(name)
        if self.files == RUN_FILES and (removed := self.store.remove_temporaries()):
            self.emit(TemporariesRemoved(count=len(removed), first=removed[0]))

    def _score(self, ledger: Ledger) -> Iterable[Event]:
        write_manifest(self.store, ledger.manifest(None, ended=False), ledger.record(), self.files)
        return self.engine.score(self, ledger)


def complete_output(run: Execution, ledger: Ledger) -> None:
    """Remove what is not part of the output, compare its rows with the reference, and check that it is complete.

    Raises:
        PartitionError: an input could not be read.
        RowsRejectedError: there are more rejects than allowed.
        DriftError: there is more drift than allowed.
        StorageError: a part is missing.
    """
    store, emit = run.store, run.emit
    remove_replaced_parts(store, ledger, emit)
    profile_run(store, ledger, run.bundle, emit)
    ledger.check_final_limits()
    store.refresh()
    check_parts_exist(store, ledger)
    emit(*new_inputs(run.job, ledger.plan.discovery))
    refuse_drift(ledger.drift, run.job.max_drift)
