"""Runs one job from start to end: discover, plan, load the bundle, pass every block through the line, publish.

Several flows take splits from the file to the finished part (`flows.py`; `scoring/line.py` lists the stages), a few
threads publish parts, and the calling thread emits the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.stages import engines_of
from ..cores import available_cores
from ..errors import ScorelineError
from ..events import Emitter, Subscriber
from ..inputs.discover import Discovery, discover
from ..options import ScoreJob
from ..outputs.lock import lock_output
from ..outputs.manifest import encode_manifest
from ..outputs.store import MANIFEST, SUCCESS, Store
from ..planning.existing import ExistingParts, scan_output
from ..planning.option_check import checked_job
from ..planning.plan import default_split_rows, make_plan, refuse_overlap
from .commit import (
    check_parts_exist,
    lock_new_output,
    remove_replaced_parts,
    up_to_date_manifest,
    write_manifest_at_end,
)
from .drift import profile_run, refuse_drift, refuse_without_reference
from .events import (
    BundleLoaded,
    ModelNotCompiled,
    NewInputsFound,
    NothingToDo,
    PartitionFailed,
    RunStarted,
    ScoringStarted,
    TemporariesRemoved,
)
from .findings import input_findings, kept_part_differences, output_findings
from .ledger import Ledger, RunClock, open_ledger

if TYPE_CHECKING:
    from ..scoring.line import Line
    from ..scoring.scorer import Scorer


def run(job: ScoreJob, subscribers: Sequence[Subscriber] = ()) -> RunManifest:
    """Run a job.

    Args:
        subscribers: called with each event of the run (`running/events.py`), in the calling thread.

    Returns:
        The manifest, as written to `_scoreline/run.json`; `_SUCCESS` exists.

    Raises:
        ScorelineError: the run failed; parts that were published before are kept, and `_SUCCESS` does not exist.
    """
    clock, cores, emit = RunClock(), available_cores(), Emitter(subscribers)
    job = checked_job(job)
    bundle = open_bundle(job.bundle)
    refuse_without_reference(bundle, job)
    split_rows = job.split_rows or default_split_rows(bundle.model_bytes())
    with clock.times.blocking_stage("discover"):
        found = discover(job.input, format=job.format)
        refuse_overlap(found, job)
    store = Store(job.output)
    with ExitStack() as held:
        if known := store.has_earlier_run():  # an existing output is locked before it is scanned
            store.prepare()
            held.enter_context(lock_output(store, job.run_id))
        with clock.times.blocking_stage("discover") as spent:
            existing = _existing(store, found, bundle, job, split_rows)
            plan = make_plan(found, existing, bundle.manifest, job, split_rows)
            spent.rows, spent.bytes = plan.num_rows or 0, sum(p.size for p in found.partitions)
        if not known:
            lock_new_output(store, job, held)
        emit(*input_findings(found), *output_findings(existing, prune=job.prune), RunStarted.of(job, plan, cores))
        if (done := up_to_date_manifest(store, plan, job, bundle.digest)) is not None:
            emit(NothingToDo(partitions=len(done.partitions), rows=done.rows_in, made_by=done.run_id))
            return done
        scorer = _load_scorer(bundle, job, emit, held) if plan.partitions else None
        ledger = open_ledger(job, plan, bundle, scorer, clock)
        if scorer is not None:
            emit(*kept_part_differences(existing.made_with, ledger.made_with()))
        store.remove(SUCCESS)
        if removed := store.remove_temporaries():
            emit(TemporariesRemoved(count=len(removed), first=removed[0]))
        emit(ScoringStarted(rows=plan.num_rows))
        with write_manifest_at_end(store, ledger, emit):
            for partition, parts in existing.kept.items():
                for record in parts.values():
                    ledger.keep(partition, record)
            for error in plan.failed:
                emit(PartitionFailed(partition=error.partition, reason=str(error)))
                ledger.fail(error)
            line = None
            if scorer is not None:
                line = _score(store, scorer, ledger, emit, cores.count)
            remove_replaced_parts(store, ledger, emit)
            profile_run(store, ledger, bundle, scorer, emit)
            ledger.check_final_limits()
            if line is not None:
                emit(*line.summary(clock.times))
            check_parts_exist(store, ledger)
            if names := _new_inputs(ledger):
                emit(NewInputsFound(count=len(names), first=names[0]))
            refuse_drift(ledger.drift, job.max_drift)
    return ledger.manifest(None)


def _new_inputs(ledger: Ledger) -> list[str]:
    """Inputs that appeared after the run began. They are left for the next run."""
    try:
        now = discover(ledger.job.input, format=ledger.job.format).partitions
    except ScorelineError:  # the input is gone
        return []
    known = {partition.name for partition in ledger.plan.discovery.partitions}
    return [partition.name for partition in now if partition.name not in known]


def _existing(store: Store, found: Discovery, bundle: Bundle, job: ScoreJob, split_rows: int) -> ExistingParts:
    """The parts of earlier runs."""
    engines, root = engines_of(bundle.manifest), found.real_root
    return scan_output(store, found.partitions, bundle.digest, job, split_rows, root=root, engines=engines)


def _score(store: Store, scorer: Scorer, ledger: Ledger, emit: Emitter, cores: int) -> Line:
    from .score import score_splits  # imports torch, only if there is work

    store.write(MANIFEST, encode_manifest(ledger.manifest(None, ended=False)))
    return score_splits(store, scorer, ledger, emit, cores)


def _load_scorer(bundle: Bundle, job: ScoreJob, emit: Emitter, held: ExitStack) -> Scorer:
    from ..model.modes import pinned  # imports torch, only if there is work
    from ..model.reproducible import reproducible
    from ..scoring.scorer import Scorer

    held.enter_context(pinned())
    held.enter_context(reproducible(seed=job.seed, deterministic=job.deterministic))
    scorer = Scorer.for_job(bundle, job)
    emit(BundleLoaded.of(job, bundle, scorer))
    if scorer.not_compiled is not None:
        emit(ModelNotCompiled(reason=scorer.not_compiled))
    return scorer
