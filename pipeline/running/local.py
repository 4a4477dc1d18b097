"""Scores the splits of a run in this process. Imports torch only when a bundle is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..events import Event
from ..planning.plan import Plan
from ..records import Partition
from .events import BundleLoaded, ModelNotCompiled
from .findings import blocks_retried
from .ledger import Ledger

if TYPE_CHECKING:
    from ..scoring.scorer import Scorer
    from .execute import Execution, Loaded


class LocalEngine:
    """This process, with all of its cores and devices (`execute.Engine`)."""

    def __init__(self) -> None:
        self._scorer: Scorer | None = None

    def begin(self, execution: Execution, inputs: Sequence[Partition]) -> None:  # noqa: ARG002 - nothing is begun
        """Nothing: importing torch would keep the inputs from being planned."""
        return

    def load(self, execution: Execution, plan: Plan) -> Loaded:  # noqa: ARG002 - one bundle for any plan
        """Load the bundle, and replay its golden rows."""
        from ..model.modes import pinned
        from ..model.reproducible import reproducible
        from ..scoring.scorer import Scorer
        from .execute import Loaded

        job, bundle = execution.job, execution.bundle
        execution.held.enter_context(pinned())
        execution.held.enter_context(reproducible(seed=job.seed, deterministic=job.deterministic))
        scorer = self._scorer = Scorer.for_job(bundle, job)
        loaded = BundleLoaded.of(job, bundle, scorer)
        execution.emit(loaded)
        if scorer.not_compiled is not None:
            execution.emit(ModelNotCompiled(reason=scorer.not_compiled))
        return Loaded(event=loaded, devices=scorer.devices, layout=scorer.loaded.layout)

    def score(self, execution: Execution, ledger: Ledger) -> Iterator[Event]:
        """Score every split of the plan. Returns what the stages report at the end of the run."""
        from .score import score_splits

        assert self._scorer is not None, "it is loaded first"
        summary = score_splits(execution.store, self._scorer, ledger, execution.emit, execution.cores.count)
        execution.emit(*blocks_retried(summary.retries))
        return summary.line.summary(ledger.clock.times)
