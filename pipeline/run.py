"""One job from start to end: the only file that knows the order of the stages.

    discover → read → check → scale → transfer → forward → decode → write → publish

Reader threads read, check and scale; lanes transfer, run the forward pass and decode; the calling thread
writes and publishes, in order. Everything is bounded, so memory does not grow with the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import ValidationError

from ..schemas.run import BundleRecord, RunManifest
from .desk import Desk, ScoredBlock, SplitEnd
from .errors import ModelFailedError, OutputLockedError, PartitionError, ScorelineError, one_line
from .inputs import csv, parquet
from .inputs.discover import discover
from .inputs.rebatch import rebatch
from .ledger import Ledger
from .model.bundle import Bundle, open_bundle
from .outputs.assemble import assemble, assemble_rejects
from .outputs.lock import hold
from .outputs.part_file import ROW_GROUP_ROWS
from .outputs.store import MANIFEST, SUCCESS, Store
from .plan import Plan, PlannedSplit, make_plan, refuse_overlap
from .records import FeatureBatch, ScoredBatch, ScoreJob, Split
from .resume import Standing, look, rejects_of
from .timing import StageTimes
from .watch import Watcher, say_end, say_failed, say_nothing_to_do, say_plan, say_swept

if TYPE_CHECKING:
    from .scorer import Scorer

#: One reader keeps four cores busy (measured); more only cost memory.
CORES_PER_READER = 4


@dataclass(kw_only=True, slots=True)
class LoadedBlock:
    """A block on its way to the model."""

    planned: PlannedSplit
    features: FeatureBatch
    first_row: int
    times: StageTimes


def run(job: ScoreJob, watcher: Watcher) -> RunManifest:
    """Score everything a job asks for.

    Returns:
        The manifest, as it was written to `_scoreline/run.json`; `_SUCCESS` stands beside it.

    Raises:
        ScorelineError: one of `errors.py`; what was published before stays, and `_SUCCESS` is not there.
    """
    start_s, started, times = perf_counter(), datetime.now(UTC), StageTimes()
    bundle = open_bundle(job.bundle)
    with times.stage_in_front("discover"):
        found = discover(job.input, format=job.format)
        refuse_overlap(found, job)
    store = Store(job.output)
    with ExitStack() as held:
        if known := store.is_ours():  # held before it is looked at
            store.prepare()
            held.enter_context(hold(store, job.run_id))
        with times.stage_in_front("discover") as spent:
            standing = look(store, found.partitions, bundle.digest, job)
            plan = make_plan(found, standing, bundle.manifest, job.columns)
            spent.rows, spent.bytes = plan.num_rows or 0, sum(p.size for p in found.partitions)
        if not known:
            _hold_fresh(store, job, held)
        say_plan(watcher, job, plan)
        if (done := _nothing_to_do(store, plan, job)) is not None:
            say_nothing_to_do(watcher, done)
            return done
        scorer = _load_scorer(bundle, job, watcher) if plan.splits else None
        ledger = Ledger(
            job=job,
            plan=plan,
            bundle=_bundle_record(bundle, scorer),
            device=str(scorer.device) if scorer else "none",
            block_rows=job.batch_rows or (scorer.block_rows if scorer else 0),
            times=times,
            start_s=start_s,
            startup_s=perf_counter() - start_s - spent.waiting_s,
            started=started,
        )
        store.remove(SUCCESS)
        say_swept(watcher, store.sweep())
        watcher.start(plan.num_rows)
        with _manifest_written(store, ledger, watcher):
            for record in standing.kept.values():
                ledger.keep(record)
            for error in plan.failed:
                say_failed(watcher, error)
                ledger.fail(error)
            if scorer is not None:
                _score_splits(store, scorer, ledger, watcher)
            _settle(ledger)
            if job.prune:
                _prune(store, standing)
    return ledger.manifest(None)


def _hold_fresh(store: Store, job: ScoreJob, held: ExitStack) -> None:
    """Make an output and hold it, now that the preflight has passed."""
    store.prepare()
    held.enter_context(hold(store, job.run_id))
    if next(store.parquet_files(), None) is not None:
        raise OutputLockedError(f"another run has just begun in {str(store.root)!r}; try again when it has ended")


def _nothing_to_do(store: Store, plan: Plan, job: ScoreJob) -> RunManifest | None:
    """The last run's manifest, where it tells of these very parts, all of them stand, and so does `_SUCCESS`: nothing
    is touched then."""
    standing = plan.standing
    if plan.splits or plan.failed or not standing.complete or (job.prune and standing.orphans):
        return None
    try:
        manifest = RunManifest.model_validate_json(store.path(MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None
    told = {record.target for record in manifest.partitions}, manifest.orphans
    stands = {record.target for record in standing.kept.values()}, standing.orphans
    allowed = job.max_rejects.allowed(manifest.rows_in)
    return manifest if told == stands and manifest.rows_rejected <= allowed else None


def _prune(store: Store, standing: Standing) -> None:
    """Remove parts whose input is gone, and their rejects."""
    for name in standing.orphans:
        store.remove(name)
        store.remove(rejects_of(name))
    standing.orphans.clear()


def _score_splits(store: Store, scorer: Scorer, ledger: Ledger, watcher: Watcher) -> None:
    """Every split of the plan, read ahead, scored several blocks at once, published in order."""
    from .inputs.loader import Readers  # torch: only once there is work
    from .lanes import in_order, open_lanes
    from .model.forward import num_cores

    cores = num_cores()
    lanes = cores if scorer.device.type == "cpu" else 1
    # Enough in flight that the lanes have work while a row group is written; half of one was as good as all.
    depth = max(2 * lanes, ROW_GROUP_ROWS // ledger.block_rows // 2)
    planned = {entry.split: entry for entry in ledger.plan.splits}
    options = ledger.job.columns

    def load(split: Split) -> Iterator[LoadedBlock | SplitEnd]:
        return _load(planned[split], scorer, ledger.block_rows)

    def score(item: LoadedBlock | SplitEnd) -> ScoredBlock | SplitEnd:
        return item if isinstance(item, SplitEnd) else _score(item, scorer, options)

    with (
        Readers(list(planned), load, num_threads=max(1, cores // CORES_PER_READER)) as readers,
        open_lanes(lanes) as pool,
        Desk(store, ledger, watcher) as desk,
    ):
        for item in in_order(readers.loader(), score, pool, depth=depth):
            if isinstance(item, ScoredBlock):
                desk.write(item)
            else:
                desk.publish(item)


def _load(planned: PlannedSplit, scorer: Scorer, rows: int) -> Iterator[LoadedBlock | SplitEnd]:
    """read → check → scale, in a reader thread."""
    blocks, first_row, error = iter(read_blocks(planned, rows)), 0, None
    while True:
        times = StageTimes()
        try:
            with times.stage("read") as spent:
                batch = next(blocks, None)
        except PartitionError as broken:
            error = broken
            break
        if batch is None:
            break
        spent.rows, spent.bytes = batch.num_rows, batch.nbytes
        with times.stage("check") as spent:
            checked = scorer.check(batch, text=planned.text)
            spent.rows, spent.bytes = batch.num_rows, batch.nbytes
        with times.stage("scale") as spent:
            features = scorer.scale(checked)
            spent.rows = features.num_kept
            spent.bytes = sum(tensor.nbytes for tensor in features.inputs.values())
        yield LoadedBlock(planned=planned, features=features, first_row=first_row, times=times)
        first_row += batch.num_rows
    yield SplitEnd(planned=planned, rows_in=first_row, error=error, times=times)


def read_blocks(planned: PlannedSplit, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a split in blocks of `rows`, in file order, features that come from the path included.

    Raises:
        PartitionError: the file cannot be read to its end.
    """
    partition, names = planned.partition, planned.read.names
    if partition.format == "csv":
        batches = csv.read_batches(partition, names, header=planned.header)
    else:
        batches = parquet.read_batches(partition, names, block_rows=rows)
    try:
        for batch in rebatch(batches, rows):
            for key, value in planned.hive:
                batch = batch.append_column(key, pa.repeat(pa.scalar(value, pa.string()), batch.num_rows))
            yield batch
    except pa.ArrowException as error:  # dictionaries of its row groups that do not fit into one
        raise PartitionError(
            f"{partition.name}: its row groups cannot be joined: {one_line(error)}", partition=partition.name
        ) from error


def _score(item: LoadedBlock, scorer: Scorer, options: Any) -> ScoredBlock:
    """transfer → forward → decode, in a lane."""
    from .model.forward import synchronize  # loaded already, with the scorer

    times, features, planned = item.times, item.features, item.planned
    with times.stage("transfer") as spent:
        moved = scorer.transfer(features)
        synchronize(scorer.device)
        spent.rows, spent.bytes = features.num_kept, sum(t.nbytes for t in features.inputs.values())
    with times.stage("forward") as spent:
        try:
            raw = scorer.forward(moved)
        except ModelFailedError as error:
            last = item.first_row + features.batch.num_rows - 1
            raise ModelFailedError(f"{planned.partition.name}: rows {item.first_row} to {last}: {error}") from error
        synchronize(scorer.device)
        spent.rows, spent.bytes = features.num_kept, sum(t.nbytes for t in raw.values())
    with times.stage("decode") as spent:
        decoded = scorer.decode(moved, raw, options)
        block = ScoredBatch(
            rows=assemble(features.batch, decoded.kept, decoded.columns, planned.schema),
            rejects=assemble_rejects(
                features.batch, decoded.rejects, source=planned.partition.name, first_row=item.first_row
            ),
        )
        spent.rows, spent.bytes = block.rows.num_rows, block.rows.nbytes
    return ScoredBlock(planned=planned, block=block, num_rows=features.batch.num_rows, times=times)


def _load_scorer(bundle: Bundle, job: ScoreJob, watcher: Watcher) -> Scorer:
    from .scorer import Scorer  # the heavy half of a run: torch, and only once the plan says there is work

    scorer = Scorer.load(bundle, device=job.device, trust=job.trust)
    golden = scorer.golden
    assert golden is not None, "a scorer that is loaded has replayed its golden rows"
    watcher.event(
        "bundle_loaded",
        bundle=str(bundle.path),
        digest=bundle.digest,
        device=str(scorer.device),
        batch_rows=job.batch_rows or scorer.block_rows,
        golden_rows=golden.rows,
        golden_source=golden.source,
        golden_largest_difference=golden.largest_difference,
    )
    return scorer


def _bundle_record(bundle: Bundle, scorer: Scorer | None) -> BundleRecord:
    golden = scorer.golden if scorer is not None else None
    return BundleRecord(
        path=str(bundle.path),
        digest=bundle.digest,
        golden_rows=golden.rows if golden else None,
        golden_source=golden.source if golden else None,
        golden_largest_difference=golden.largest_difference if golden else None,
    )


def _settle(ledger: Ledger) -> None:
    """Hold the whole run to what it allows: no partition that could not be read, and a share of rejects."""
    failures = ledger.failures()
    if failures:
        count, total = len(failures), len(ledger.plan.discovery.partitions)
        raise PartitionError(
            f"{failures[0].error} ({count} of {total} inputs could not be read; the others are published)",
            partition=failures[0].source,
        )
    ledger.hold_budget(sum(record.rows_in for record in ledger.partitions))


@contextmanager
def _manifest_written(store: Store, ledger: Ledger, watcher: Watcher) -> Iterator[None]:
    """Whatever happens inside, run.json and the last log line tell of it; `_SUCCESS` only of success."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
        raise
    finally:
        manifest = ledger.manifest(error)
        try:
            store.write(MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
            if error is None:
                store.write(SUCCESS, b"")
        except ScorelineError as second:
            if error is None:
                raise
            watcher.event("manifest_not_written", level="error", reason=str(second))
        say_end(watcher, manifest)
