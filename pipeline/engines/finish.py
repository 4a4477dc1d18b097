"""Completes an output whose shards have been scored: checks every shard and the limits of the whole run, removes
replaced parts, writes the manifest and `_SUCCESS`. Does not import torch.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from ...schemas.run import RunManifest, ShardRecord
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.stages import engines_of
from ..cores import available_cores
from ..errors import BundleError, DataError, NoInputError, counted, listed
from ..events import Emitter, Subscriber
from ..options import RejectBudget, ScoreJob, Shard
from ..outputs.finished import why_incomplete
from ..outputs.manifest import read_manifest, read_record
from ..outputs.part_records import OutputRecord, PartitionRecord, PartRecord
from ..outputs.store import SUCCESS, Store
from ..outputs.stores import open_store
from ..planning.existing import Scope, scan_output
from ..planning.kept_part import is_changed
from ..planning.option_check import checked_job
from ..planning.plan import Plan, make_plan
from ..running.commit import write_manifest_at_end
from ..running.drift import is_within_drift, refuse_without_reference
from ..running.events import NothingToDo, TemporariesRemoved, waiting_for_lock
from ..running.execute import Execution, complete_output
from ..running.findings import kept_part_differences, output_findings
from ..running.ledger import Ledger, RunClock, open_ledger
from ..running.recorder import RunRecorder
from ..timing import StageTimes
from .shards import START_AGAIN, FrozenPlan, read_plan, shard_files

#: Shards and inputs that a message names.
MAX_NAMES = 8


def finish(
    output: str,
    *,
    run_id: str,
    max_rejects: RejectBudget | None = None,
    max_drift: float | None = None,
    subscribers: Sequence[Subscriber] = (),
) -> RunManifest:
    """Complete an output. May be repeated, also after it was interrupted.

    Args:
        max_rejects: how many rows of all shards may be rejected; None: as many as they were started with.
        max_drift: the largest PSI with which the run succeeds; None: the limit they were started with.
        subscribers: called with each event.

    Returns:
        The manifest, as written to `_scoreline/run.json`; `_SUCCESS` exists. Of an output that is complete already,
        without touching it.

    Raises:
        NoInputError: no shard has begun.
        DataError: a shard has not begun, was killed, or failed; or parts are missing.
        OutputLockedError: a shard is still running.
        RowsRejectedError: more rows were rejected than allowed.
        DriftError: there is more drift than allowed.
        UsageError: drift is limited, but the shards have not counted their rows.
    """
    clock, store = RunClock(), open_store(output)
    try:
        read_plan(store)  # before the lock, which needs the folder of an output
    except NoInputError:
        if (done := _finished(store, max_rejects, max_drift)) is None:
            raise
        Emitter(subscribers)(NothingToDo.of(done, done.inputs))
        return done
    with store.lock(run_id, waiting_for_lock(Emitter(subscribers))), ExitStack() as held:
        frozen = read_plan(store)
        job = replace(frozen.plan.sharded.job, output=output, run_id=run_id)
        job = job if max_rejects is None else replace(job, max_rejects=max_rejects)
        job = checked_job(job if max_drift is None else replace(job, max_drift=max_drift))
        return _complete(store, frozen, job, clock, subscribers, held)


def _complete(
    store: Store, frozen: FrozenPlan, job: ScoreJob, clock: RunClock, subscribers: Sequence[Subscriber], held: ExitStack
) -> RunManifest:
    """Check the shards and their parts, and write what a run writes at its end."""
    bundle = _bundle(frozen)
    refuse_without_reference(bundle, job)
    history = RunRecorder(job, bundle, clock, finish=True)
    emit = Emitter([*subscribers, history])
    held.enter_context(history.recorded(store, emit))
    manifests, recorded = _shards(store, frozen)
    with clock.times.blocking_stage("discover"):
        plan = _plan(store, frozen, bundle, job, recorded)
    emit(*output_findings(plan.existing, prune=job.prune))
    if made_with := plan.existing.made_with:
        emit(*kept_part_differences(made_with[1:], made_with[0]))
    ledger = open_ledger(job, plan, bundle, None, clock)
    _adopt(ledger, manifests)
    store.remove(SUCCESS)
    if removed := store.remove_temporaries():
        emit(TemporariesRemoved(count=len(removed), first=removed[0]))
    execution = Execution(
        job=job, bundle=bundle, store=store, clock=clock, cores=available_cores(), emit=emit, held=held
    )
    with write_manifest_at_end(store, ledger, emit) as written:
        ledger.keep_existing()
        complete_output(execution, ledger)
    store.remove_shards()
    assert written.manifest is not None, "it is written before the block ends"
    return written.manifest


def _finished(store: Store, max_rejects: RejectBudget | None, max_drift: float | None) -> RunManifest | None:
    """The manifest of a complete output within the limits; None for any other output. A run without shards may have
    completed it: the shards have had nothing to do.

    Raises:
        DataError: its files were changed or removed since.
    """
    try:
        manifest = read_manifest(store)
    except (DataError, NoInputError):
        return None
    if why_incomplete(store, manifest) is not None:
        return None
    if changed := [part.target for part in read_record(store, manifest).parts() if _is_changed(store, part)]:
        raise DataError(
            f"{counted(len(changed), 'part')} of {str(store.root)!r} changed or removed since it was finished, first"
            f" {changed[0]!r}; run scoreline verify, which says what to do"
        )
    within = max_rejects is None or manifest.rows_rejected <= max_rejects.allowed(manifest.rows_in)
    return manifest if within and is_within_drift(manifest.drift, max_drift) else None


def _is_changed(store: Store, part: PartRecord) -> bool:
    """Whether a part or its rejects are missing, or the part has other bytes now."""
    now = store.etag(part.target)
    lost = now is None or (part.rejects is not None and store.etag(part.rejects) is None)
    return lost or is_changed(store, part, now)


def _bundle(frozen: FrozenPlan) -> Bundle:
    sharded = frozen.plan.sharded
    bundle = open_bundle(sharded.job.bundle)
    if bundle.digest != sharded.bundle:
        raise BundleError(
            f"bundle {sharded.job.bundle!r} has changed since the shards began: its digest is {bundle.digest}, not"
            f" {sharded.bundle}; put the earlier bundle back"
        )
    return bundle


def _shards(store: Store, frozen: FrozenPlan) -> tuple[list[RunManifest], OutputRecord]:
    """The manifest of every shard, and the parts of all. Raises DataError for shards that have not succeeded."""
    manifests, partitions, missing = list[RunManifest](), list[PartitionRecord](), list[str]()
    count = frozen.plan.sharded.count
    for number in range(1, count + 1):
        shard = Shard(number=number, count=count)
        files = shard_files(shard)
        try:
            manifest = read_manifest(store, files)
            partitions += read_record(store, manifest, files).partitions
        except (DataError, NoInputError):
            exists = store.kind(files.manifest) == "file"
            missing.append(f"{shard} ({'its record is damaged' if exists else 'has not begun'})")
            continue
        if manifest.shard_plan != frozen.digest:
            missing.append(f"{shard} (has followed another plan)")
        elif manifest.status != "success":
            missing.append(f"{shard} ({manifest.error or 'was killed'})")
        manifests.append(manifest)
    if missing:
        more = f" and {len(missing) - MAX_NAMES:,} more" if len(missing) > MAX_NAMES else ""
        again = f"score {'it' if len(missing) == 1 else 'them'} again with --shard"
        if any(START_AGAIN in one for one in missing):  # an input has changed since
            again = "score every shard again with --shard after that"
        raise DataError(
            f"{counted(len(missing), 'shard')} of {count:,} not complete: {', '.join(missing[:MAX_NAMES])}{more};"
            f" {again}, then run scoreline finish"
        )
    return manifests, OutputRecord(partitions=partitions)


def _plan(store: Store, frozen: FrozenPlan, bundle: Bundle, job: ScoreJob, recorded: OutputRecord) -> Plan:
    """The plan of the whole output. Raises DataError if anything remains to be scored."""
    sharded, found, engines = frozen.plan.sharded, frozen.discovery(), engines_of(bundle.manifest)
    existing = scan_output(
        store,
        found.partitions,
        bundle.digest,
        job,
        sharded.split_rows,
        root=sharded.root,
        engines=engines,
        scope=Scope(recorded=recorded),
    )
    incomplete = [partition.name for partition in found.partitions if partition not in existing.complete_inputs]
    if incomplete:
        raise DataError(
            f"parts of {counted(len(incomplete), 'input')} are missing or out of date: {listed(incomplete, MAX_NAMES)};"
            " score the shards again with --shard, then run scoreline finish"
        )
    return make_plan(found, existing, bundle.manifest, job, sharded.split_rows)


def _adopt(ledger: Ledger, manifests: Sequence[RunManifest]) -> None:
    """Record with what the shards have scored, and what their stages cost."""
    scored = [manifest for manifest in manifests if manifest.device != "none"] or list(manifests)
    first = scored[0]
    ledger.bundle = first.bundle
    ledger.device = ", ".join(sorted({manifest.device for manifest in scored}))
    ledger.versions = {name: version for name, version in first.versions.items() if name != "python"}
    ledger.block_rows = int(first.options.get("batch_rows") or 0)
    times = StageTimes()
    for manifest in manifests:
        for name, spent in manifest.stages.items():
            if name != "discover":
                times[name].busy_s += spent.busy_s
                times[name].rows += spent.rows
                times[name].bytes += spent.bytes
    ledger.add_times(times)
    ledger.shards = [
        ShardRecord(
            shard=manifest.shard or "",
            run_id=manifest.run_id,
            started=manifest.started,
            ended=manifest.ended,
            device=manifest.device,
            rows_in=manifest.rows_in,
            wall_s=manifest.wall_s,
        )
        for manifest in manifests
    ]
