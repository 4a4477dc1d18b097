"""Shards: several processes score a job, on any machines that share its input and output, without talking to each
other.

The first of them divides the work and writes the plan, which all others follow. Each shard has a lock, publishes its
own parts and records them in `_scoreline/shards/`; `finish.py` completes the output.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import ClassVar

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.constants import with_digest
from ..bundle.stages import engines_of
from ..cores import available_cores
from ..digests import sha256
from ..errors import DataError, NoInputError, OutputError, PartitionError, one_line
from ..events import Emitter, Event, Subscriber
from ..inputs.discover import Discovery, discover, unchanged
from ..inputs.tables.uris import absolute_input
from ..options import ScoreJob, Shard
from ..outputs.manifest import read_manifest, read_record
from ..outputs.part_records import OutputRecord
from ..outputs.store import PLAN, SHARDS, SUCCESS, RecordFiles, Store
from ..outputs.stores import open_store
from ..planning.existing import Scope, scan_output
from ..planning.option_check import checked_job
from ..planning.overlap import refuse_overlap
from ..planning.plan import Plan, default_split_rows, make_plan
from ..planning.shard_plan import ShardedJob, ShardPlan, decode_plan, divide, encode_plan, refuse_same_outputs
from ..records import Partition
from ..running.commit import check_parts_exist, up_to_date_manifest
from ..running.drift import refuse_without_reference
from ..running.events import NothingToDo, RunStarted, waiting_for_lock
from ..running.execute import Execution
from ..running.findings import input_findings
from ..running.ledger import Ledger, RunClock
from ..storage.uris import absolute
from ..timing import Recorder, StageTimes


class ShardStarted(Event):
    """A shard has read the plan, or made it if it is the first."""

    name: ClassVar[str] = "shard_started"
    shard: str
    inputs: int
    #: Those of all shards.
    all_inputs: int
    #: Whether this shard has divided the work.
    planned: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenPlan:
    """The plan that all shards follow, with its digest."""

    plan: ShardPlan
    digest: str

    def discovery(self, partitions: Sequence[Partition] | None = None) -> Discovery:
        """All inputs, or some of them, as they were found when the work was divided."""
        root = self.plan.sharded.root
        found = self.plan.partitions() if partitions is None else tuple(partitions)
        return Discovery(real_root=root, partitions=found, table_version=self.plan.sharded.table_version)


def score_shard(
    job: ScoreJob, subscribers: Sequence[Subscriber] = (), *, recorder: Recorder | None = None
) -> RunManifest:
    """Score the shard that the job names.

    Args:
        subscribers: called with each event of the run, in the calling thread.
        recorder: called with each piece of work of a stage, in the thread that did it (`timing.py`).

    Returns:
        The manifest of the shard, as written to `_scoreline/shards/`.

    Raises:
        ScorelineError: the shard failed; parts that were published before are kept.
    """
    clock, cores, emit = RunClock(times=StageTimes(recorder=recorder)), available_cores(), Emitter(subscribers)
    shard = job.shard
    assert shard is not None, "a job without a shard is scored by `run`"
    bundle, store = open_bundle((job := checked_job(job)).bundle), open_store(job.output)
    refuse_without_reference(bundle, job)
    job = with_digest(job, bundle.digest)
    with clock.times.blocking_stage("discover"):
        found = _found(job) if store.kind(PLAN) == "missing" else None
    store.prepare()
    with ExitStack() as held:
        held.enter_context(store.lock_shard(_name(shard), job.run_id, waiting_for_lock(emit)))
        with clock.times.blocking_stage("discover") as spent:
            if (last := _finished(store, job, bundle, found)) is not None:
                emit(NothingToDo.of(last, last.inputs))
                return last
            frozen, planned_here = _frozen(store, job, bundle, found)
            plan = _plan(store, frozen, bundle, job)
            spent.rows, spent.bytes = plan.num_rows or 0, sum(p.size for p in plan.discovery.partitions)
        if planned_here and found is not None:
            emit(*input_findings(found))
        everything = len(frozen.plan.partitions())
        inputs = len(plan.discovery.partitions)
        emit(
            ShardStarted(shard=str(shard), inputs=inputs, all_inputs=everything, planned=planned_here),
            RunStarted.of(job, plan, cores),
        )
        files = shard_files(shard)
        if (done := _up_to_date(store, files, plan)) is not None:
            emit(NothingToDo.of(done, done.inputs))
            return done
        execution = Execution(
            job=job, bundle=bundle, store=store, clock=clock, cores=cores, emit=emit, held=held, files=files
        )
        return execution.score(plan, _check_shard)


def _check_shard(run: Execution, ledger: Ledger) -> None:
    """Check the limits that a shard can judge alone, and its parts."""
    ledger.check_final_limits()
    check_parts_exist(run.store, ledger)


def shard_files(shard: Shard) -> RecordFiles:
    """Where a shard records what it has done."""
    return RecordFiles(f"{SHARDS}/{_name(shard)}.json", f"{SHARDS}/{_name(shard)}.pq")


def read_plan(store: Store) -> FrozenPlan:
    """The plan that the shards of an output follow.

    Raises:
        NoInputError: there is none.
        DataError: it is damaged, or of another version.
    """
    try:
        data = store.read(PLAN)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoInputError(
            f"{str(store.root)!r} has no shards to finish: they are scored with scoreline score --shard 1/16, and so on"
        ) from error
    except OSError as error:
        raise DataError(f"{store.path(PLAN)} cannot be read: {error.strerror or one_line(error)}") from error
    try:
        return FrozenPlan(plan=decode_plan(data), digest=sha256(data))
    except DataError as error:
        raise DataError(f"{store.path(PLAN)} cannot be read: {one_line(error)}; {START_AGAIN}") from error


START_AGAIN = f"to divide the work again, remove {SHARDS} when no shard is running"


def _name(shard: Shard) -> str:
    return f"{shard.number:05d}-of-{shard.count:05d}"


def _found(job: ScoreJob) -> Discovery:
    found = discover(job.input, format=job.format)
    refuse_overlap(found, job)
    return found


def _frozen(store: Store, job: ScoreJob, bundle: Bundle, found: Discovery | None) -> tuple[FrozenPlan, bool]:
    """The plan, which the first shard makes, and whether this is the first.

    Raises:
        OutputError: the plan is of another job.
    """
    assert job.shard is not None, "this is a shard"
    with store.lock_plan(job.run_id):
        try:
            frozen, first = read_plan(store), False
        except NoInputError:
            first, found = True, found or _found(job)
            split_rows = job.split_rows or default_split_rows(bundle.model_bytes())
            refuse_same_outputs(found, job, split_rows)
            pieces = divide(found, job, split_rows, job.shard.count)
            sharded = ShardedJob(
                job=_shared(job), root=found.real_root, bundle=bundle.digest, split_rows=split_rows,
                count=job.shard.count, table_version=found.table_version,
            )  # fmt: skip
            store.write(PLAN, encode_plan(ShardPlan(sharded=sharded, pieces=pieces)))
            frozen = read_plan(store)
    _refuse_other_job(store, frozen.plan.sharded, job, bundle)
    return frozen, first


def _finished(store: Store, job: ScoreJob, bundle: Bundle, found: Discovery | None) -> RunManifest | None:
    """The manifest of the last run if the whole output is up to date, so that there is nothing to divide: a shard may
    be started again after the others have been finished."""
    if found is None or store.kind(PLAN) != "missing" or store.kind(SUCCESS) != "file":
        return None
    split_rows, engines = job.split_rows or default_split_rows(bundle.model_bytes()), engines_of(bundle.manifest)
    existing = scan_output(
        store, found.partitions, bundle.digest, job, split_rows, root=found.real_root, engines=engines
    )
    if len(existing.complete_inputs) < len(found.partitions):
        return None
    return up_to_date_manifest(store, make_plan(found, existing, bundle.manifest, job, split_rows), job, bundle.digest)


def _shared(job: ScoreJob) -> ScoreJob:
    """The job without what may differ between its shards, which may run on different machines."""
    return replace(
        job,
        bundle=absolute(job.bundle),
        input=absolute_input(job.input),
        output="",
        run_id="",
        shard=None,
        force=False,
        device="auto",
        memory_bytes=None,
        trust=(),
    )


def _refuse_other_job(store: Store, sharded: ShardedJob, job: ScoreJob, bundle: Bundle) -> None:
    assert job.shard is not None, "this is a shard"
    given = _shared(job)
    differs = [name for name in type(job).__dataclass_fields__ if getattr(given, name) != getattr(sharded.job, name)]
    what = ", ".join(name for name in differs if name != "bundle")
    if sharded.count != job.shard.count:
        what = "number of shards"
    if sharded.bundle != bundle.digest:
        what = "bundle"
    if what:
        raise OutputError(
            f"the shards of {str(store.root)!r} were planned with another {what}; complete them with scoreline finish;"
            f" {START_AGAIN}"
        )


def _plan(store: Store, frozen: FrozenPlan, bundle: Bundle, job: ScoreJob) -> Plan:
    """What this shard has to do. Inputs that have changed since the work was divided fail."""
    assert job.shard is not None, "this is a shard"
    sharded = frozen.plan.sharded
    pieces = frozen.plan.of_shard(job.shard.number)
    own = {partition: splits for partition, splits in pieces.items() if splits is not None}
    same = unchanged(list(pieces))
    found, engines = frozen.discovery(same), engines_of(bundle.manifest)
    existing = scan_output(
        store,
        same,
        bundle.digest,
        job,
        sharded.split_rows,
        root=sharded.root,
        engines=engines,
        scope=Scope(own=own, recorded=_recorded(store, shard_files(job.shard))),
    )
    plan = make_plan(found, existing, bundle.manifest, job, sharded.split_rows, own=own)
    changed = [_changed(partition) for partition in pieces if partition not in set(same)]
    return replace(
        plan,
        discovery=frozen.discovery(list(pieces)),
        failed=(*plan.failed, *changed),
        shard_plan=frozen.digest,
    )


def _changed(partition: Partition) -> PartitionError:
    return PartitionError(
        f"{partition.name}: has changed or is missing since the work was divided among the shards; {START_AGAIN}",
        partition=partition.name,
    )


def _recorded(store: Store, files: RecordFiles) -> OutputRecord | None:
    """The parts that an earlier process of the shard has recorded; None if it has recorded nothing."""
    try:
        return read_record(store, read_manifest(store, files), files)
    except (DataError, NoInputError):
        return None


def _up_to_date(store: Store, files: RecordFiles, plan: Plan) -> RunManifest | None:
    """The shard's manifest if there is nothing left to do."""
    if plan.partitions or plan.failed:
        return None
    try:
        manifest = read_manifest(store, files)
        recorded = read_record(store, manifest, files)
    except (DataError, NoInputError):
        return None
    kept = {part.content for parts in plan.existing.kept.values() for part in parts.values()}
    same = {part.content for part in recorded.parts()} == kept
    return manifest if same and manifest.status == "success" and manifest.shard_plan == plan.shard_plan else None
