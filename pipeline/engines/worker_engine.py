"""Scores the splits of a run on workers. This process keeps the plan, the lock, the ledger and the manifest; the
workers read the input and publish parts in the output, which all of them share. Does not import torch.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.metadata import PackageNotFoundError

from ...schemas.job import STORAGE_VARIABLES
from ..errors import ClusterError
from ..events import Event
from ..inputs.discover import is_unchanged
from ..inputs.tables.uris import absolute_input
from ..options import RejectBudget, ScoreJob
from ..planning.plan import Plan, default_split_rows
from ..records import Partition
from ..running.events import BlockWritten, ModelNotCompiled, OutOfMemory, PartitionFailed
from ..running.execute import Execution, Loaded
from ..running.findings import block_retried, blocks_retried
from ..running.ledger import Ledger, packages_of
from ..running.manifest import versions
from ..scoring.line import LineOptions, stage_names
from ..scoring.retries import Retries
from ..storage.uris import absolute
from ..timing import StageTimes
from .pieces import PieceQueue, cut_pieces
from .worker import PieceResult, WorkerSetup
from .workers import Workers


class WorkerEngine(ABC):
    """Any kind of workers (`running.execute.Engine`)."""

    def __init__(self) -> None:
        self._workers: Workers | None = None
        self._out_of_memory = list[Event]()

    def begin(self, execution: Execution, inputs: Sequence[Partition]) -> None:  # noqa: ARG002 - nothing is begun
        """Nothing: workers start once the work is planned."""
        return

    @abstractmethod
    def workers(self, execution: Execution, plan: Plan) -> Workers:
        """The workers of a run, not started yet. Raises a ScorelineError if there can be none."""

    def load(self, execution: Execution, plan: Plan) -> Loaded:
        """Start the workers, and have each load the bundle and replay the golden rows.

        Raises:
            ClusterError: no worker can start, or one has other versions or files.
            ScorelineError: a worker cannot load the bundle.
        """
        workers = self._workers = self.workers(execution, plan)
        execution.held.callback(workers.close)
        ready = workers.start()
        execution.emit(ready.loaded)
        if ready.not_compiled is not None:
            execution.emit(ModelNotCompiled(reason=ready.not_compiled))
        return Loaded(event=ready.loaded)

    def score(self, execution: Execution, ledger: Ledger) -> Iterable[Event]:
        """Have the workers score every split of the plan. Returns what the stages report at the end of the run."""
        workers = self._workers
        assert workers is not None, "they have loaded the bundle"
        most_rows = workers.size.cores * default_split_rows(execution.bundle.model_bytes())
        pieces = cut_pieces(ledger.plan.partitions, most_rows=most_rows, num_workers=workers.size.workers)
        queue, retries = PieceQueue(pieces), Retries(lambda first: execution.emit(block_retried(first)))
        try:
            for result in workers.score(queue):
                self._add(result, execution, ledger, queue)
                retries.add_kinds(result.retried)
            execution.emit(*blocks_retried(retries))
            return workers.summary(StageTimes(stages=ledger.clock.times.stages))
        finally:
            workers.close()
            if workers.num_lost:
                execution.store.remove_temporaries()

    def _add(self, result: PieceResult, execution: Execution, ledger: Ledger, queue: PieceQueue) -> None:
        """Record what a worker has done. Raises what ends the run."""
        assert self._workers is not None, "they have scored"
        failed = ledger.add_accounts(result.accounts, 1 / self._workers.size.workers)
        for event in result.events:
            if not isinstance(event, OutOfMemory):
                execution.emit(event)
            elif event not in self._out_of_memory:  # a worker reports it again for each piece
                self._out_of_memory.append(event)
                execution.emit(event)
        for error in failed:
            queue.leave_out(error.partition)
            execution.emit(PartitionFailed(partition=error.partition, reason=str(error)))
        execution.emit(BlockWritten(rows=result.num_rows))
        ledger.check_reject_budget()
        if result.error is not None:
            raise result.error


def worker_setup(execution: Execution, plan: Plan, job: ScoreJob, cores: int) -> WorkerSetup:
    """What the workers of a run get.

    Args:
        job: as they get it.
        cores: of each of them.
    """
    bundle, store = execution.bundle, execution.store
    sample = next((one.partition for one in plan.partitions if is_unchanged(one.partition)), None)
    try:
        own = versions(packages_of(stage_names(bundle.manifest, LineOptions.of(job))))
    except PackageNotFoundError as error:
        raise ClusterError(f"the run needs {error.name} on this machine, too; install it") from error
    return WorkerSetup(
        job=with_absolute_paths(job, str(store.root)),
        bundle=bundle.digest,
        versions=own,
        lock=store.lock_record(),
        sample=None if sample is None else replace(sample, inode=0),  # which differs between hosts
        root=plan.discovery.real_root,
        split_rows=plan.split_rows,
        engines=plan.engines,
        cores=cores,
        variables={name: os.environ[name] for name in STORAGE_VARIABLES if name in os.environ},
    )


def with_absolute_paths(job: ScoreJob, output: str) -> ScoreJob:
    """Workers may run in other folders. They stop at the number of rejects for all of them; a share can only be checked
    for all of them."""
    budget = job.max_rejects if job.max_rejects.count is not None else RejectBudget(count=None, share=Fraction(1))
    bundle, source = absolute(job.bundle), absolute_input(job.input)
    return replace(job, bundle=bundle, input=source, output=output, max_rejects=budget)
