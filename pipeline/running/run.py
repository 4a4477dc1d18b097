"""Runs one job from start to end: discover, plan, load the bundle, pass every block through the line, publish.

Several flows take splits from the file to the finished part (`flows.py`; `scoring/line.py` lists the stages), a few
threads publish parts, and the calling thread emits the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.constants import with_digest
from ..bundle.stages import engines_of
from ..cores import available_cores
from ..events import Emitter, Event, Subscriber
from ..inputs.discover import Discovery, discover
from ..options import ScoreJob
from ..outputs.store import Store
from ..outputs.stores import open_store
from ..planning.existing import ExistingParts, scan_output
from ..planning.option_check import checked_job
from ..planning.overlap import refuse_overlap
from ..planning.plan import default_split_rows, make_plan
from ..timing import Recorder, StageTimes
from .commit import lock_new_output, up_to_date_manifest
from .drift import refuse_without_reference
from .events import NothingToDo, RunStarted, waiting_for_lock
from .execute import Engine, Execution, complete_output
from .findings import DriftMeasured, input_findings, output_findings, plan_findings
from .ledger import RunClock
from .local import LocalEngine
from .recorder import RunRecorder


def run(
    job: ScoreJob,
    subscribers: Sequence[Subscriber] = (),
    engine: Engine | None = None,
    *,
    recorder: Recorder | None = None,
) -> RunManifest:
    """Run a job.

    Args:
        subscribers: called with each event of the run (`running/events.py`), in the calling thread.
        engine: what scores the splits; None: this process.
        recorder: called with each piece of work of a stage, in the thread that did it (`timing.py`).

    Returns:
        The manifest, as written to `_scoreline/run.json`; `_SUCCESS` exists.

    Raises:
        ScorelineError: the run failed; parts that were published before are kept, and `_SUCCESS` does not exist.
    """
    clock, cores = RunClock(times=StageTimes(recorder=recorder)), available_cores()
    assert job.shard is None, "shards are scored by `engines.shards`"
    assert job.engine in ("auto", "local") or engine is not None, "other engines are in `engines`"
    bundle = open_bundle((job := checked_job(job)).bundle)
    refuse_without_reference(bundle, job)
    job = with_digest(job, bundle.digest)
    history = RunRecorder(job, bundle, clock)
    emit = Emitter([*subscribers, history])
    split_rows = job.split_rows or default_split_rows(bundle.model_bytes())
    with clock.times.blocking_stage("discover"):
        found = discover(job.input, format=job.format)
        refuse_overlap(found, job)
    store = open_store(job.output)
    with ExitStack() as held:
        execution = Execution(
            job=job, bundle=bundle, store=store, clock=clock, cores=cores, emit=emit, held=held,
            engine=engine or LocalEngine(),
        )  # fmt: skip
        if known := store.has_earlier_run():  # an existing output is locked before it is scanned
            store.prepare()
            held.enter_context(store.lock(job.run_id, waiting_for_lock(emit)))
            held.enter_context(history.recorded(store, emit))
        else:
            execution.engine.begin(execution, found.partitions)
        with clock.times.blocking_stage("discover") as spent:
            existing = _existing(store, found, bundle, job, split_rows)
            plan = make_plan(found, existing, bundle.manifest, job, split_rows)
            spent.rows, spent.bytes = plan.num_rows or 0, sum(p.size for p in found.partitions)
        if not known:
            lock_new_output(store, job, held, existing)
            held.enter_context(history.recorded(store, emit))
        emit(*input_findings(found), *output_findings(existing, prune=job.prune), *plan_findings(plan))
        emit(RunStarted.of(job, plan, cores))
        if (done := up_to_date_manifest(store, plan, job, bundle.digest)) is not None:
            store.remove_shards()  # of a run that was killed after `_SUCCESS`
            emit(*_nothing_to_do(done, len(found.partitions)))
            return done
        manifest = execution.score(plan, complete_output)
        store.remove_shards()  # of an earlier run: this one has done their work
        return manifest


def _existing(store: Store, found: Discovery, bundle: Bundle, job: ScoreJob, split_rows: int) -> ExistingParts:
    """The parts of earlier runs."""
    engines, root = engines_of(bundle.manifest), found.real_root
    return scan_output(store, found.partitions, bundle.digest, job, split_rows, root=root, engines=engines)


def _nothing_to_do(done: RunManifest, num_inputs: int) -> Iterator[Event]:
    """What is said of an output that is up to date, with its drift."""
    if done.drift is not None and done.drift.unprofiled_parts < done.parts:
        yield DriftMeasured.of(done.drift)
    yield NothingToDo.of(done, num_inputs)
