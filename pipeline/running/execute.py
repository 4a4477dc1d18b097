"""Executes a plan: loads the bundle if there is something to score, passes every block through the line, publishes, and
records what was done. The same for a whole run and for a shard.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle
from ..cores import Cores
from ..events import Emitter
from ..options import ScoreJob
from ..outputs.manifest import write_manifest
from ..outputs.store import RUN_FILES, SUCCESS, RecordFiles, Store
from ..planning.plan import Plan
from .commit import check_parts_exist, remove_replaced_parts, write_manifest_at_end
from .drift import profile_run, refuse_drift
from .events import BundleLoaded, ModelNotCompiled, PartitionFailed, ScoringStarted, TemporariesRemoved
from .findings import kept_part_differences, new_inputs
from .ledger import Ledger, RunClock, open_ledger

if TYPE_CHECKING:
    from ..scoring.line import Line
    from ..scoring.scorer import Scorer


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """What a run or a shard has in hand once its output is locked. `held`: ends with it; `files`: where it records
    what it has done."""

    job: ScoreJob
    bundle: Bundle
    store: Store
    clock: RunClock
    cores: Cores
    emit: Emitter
    held: ExitStack
    files: RecordFiles = RUN_FILES

    def score(self, plan: Plan, complete: Callable[[Execution, Ledger, Scorer | None], None]) -> RunManifest:
        """Score every split of the plan.

        Args:
            complete: called when every split has been published; the scorer is None if there was none to score.

        Returns:
            The manifest, as it was written.

        Raises:
            ScorelineError: parts that were published before are kept, and there is no `_SUCCESS`.
        """
        scorer = self._load_scorer() if plan.partitions else None
        ledger = open_ledger(self.job, plan, self.bundle, scorer, self.clock)
        if scorer is not None:
            self.emit(*kept_part_differences(plan.existing.made_with, ledger.made_with()))
        if plan.partitions or self.files == RUN_FILES:  # a shard without work leaves the output as it is
            self._begin()
        self.emit(ScoringStarted(rows=plan.num_rows))
        with write_manifest_at_end(self.store, ledger, self.emit, self.files) as written:
            ledger.keep_existing()
            for error in plan.failed:
                self.emit(PartitionFailed(partition=error.partition, reason=str(error)))
                ledger.fail(error)
            line = None if scorer is None else self._score(scorer, ledger)
            complete(self, ledger, scorer)
            if line is not None:
                self.emit(*line.summary(self.clock.times))
        assert written.manifest is not None, "it is written before the block ends"
        return written.manifest

    def _begin(self) -> None:
        """Remove `_SUCCESS`, and the temporaries of killed runs unless shards are at work."""
        self.store.remove(SUCCESS)
        if self.files == RUN_FILES and (removed := self.store.remove_temporaries()):
            self.emit(TemporariesRemoved(count=len(removed), first=removed[0]))

    def _score(self, scorer: Scorer, ledger: Ledger) -> Line:
        from .score import score_splits  # imports torch, only if there is work

        write_manifest(self.store, ledger.manifest(None, ended=False), ledger.record(), self.files)
        return score_splits(self.store, scorer, ledger, self.emit, self.cores.count)

    def _load_scorer(self) -> Scorer:
        from ..model.modes import pinned  # imports torch, only if there is work
        from ..model.reproducible import reproducible
        from ..scoring.scorer import Scorer

        self.held.enter_context(pinned())
        self.held.enter_context(reproducible(seed=self.job.seed, deterministic=self.job.deterministic))
        scorer = Scorer.for_job(self.bundle, self.job)
        self.emit(BundleLoaded.of(self.job, self.bundle, scorer))
        if scorer.not_compiled is not None:
            self.emit(ModelNotCompiled(reason=scorer.not_compiled))
        return scorer


def complete_output(run: Execution, ledger: Ledger, scorer: Scorer | None) -> None:
    """Remove what is not part of the output, compare its rows with the reference, and check that it is complete.

    Args:
        scorer: None if there was nothing to score.

    Raises:
        PartitionError: an input could not be read.
        RowsRejectedError: there are more rejects than allowed.
        DriftError: there is more drift than allowed.
        StorageError: a part is missing.
    """
    store, emit = run.store, run.emit
    remove_replaced_parts(store, ledger, emit)
    profile_run(store, ledger, run.bundle, scorer, emit)
    ledger.check_final_limits()
    check_parts_exist(store, ledger)
    emit(*new_inputs(run.job, ledger.plan.discovery))
    refuse_drift(ledger.drift, run.job.max_drift)
