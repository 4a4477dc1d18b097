"""One job from start to end: the only file that knows the order of the stages.

    discover → read → check (→ images) → scale (→ dedupe)
             → transfer (→ pad) → forward (→ hidden) → decode (→ explain) → write → publish

Reader threads read, check, decode images and scale, and find rows that repeat; lanes transfer, run the forward pass,
look into hidden layers, decode and explain; the calling thread writes and publishes, in order. Everything is bounded,
so memory does not grow with the input.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle, open_bundle
from ..cores import available_cores
from ..errors import ModelFailedError, OutputLockedError, PartitionError, ScorelineError, StorageError
from ..inputs.cut import MOST_BLOCK_BYTES
from ..inputs.discover import discover
from ..outputs.assemble import assemble, assemble_rejects
from ..outputs.lock import hold
from ..outputs.manifest import encode_manifest
from ..outputs.naming import rejects_name
from ..outputs.part_file import ROW_GROUP_ROWS
from ..outputs.store import MANIFEST, SUCCESS, Store
from ..planning.existing import look, recorded_parts
from ..planning.plan import Plan, PlannedPartition, default_split_rows, make_plan, refuse_overlap
from ..planning.splits import read_splits
from ..records import ColumnOptions, FeatureBatch, ScoredBatch, ScoreJob, Split, dense
from ..row_bytes import batch_bytes
from ..scoring.retries import Retries
from ..timing import StageTimes
from .events import (
    Watcher,
    say_all_retried,
    say_dedupe,
    say_end,
    say_explained,
    say_failed,
    say_found,
    say_halved,
    say_mixed,
    say_new_inputs,
    say_nothing_to_do,
    say_plan,
    say_retried,
    say_swept,
)
from .ledger import Ledger, RunClock, open_ledger
from .publisher import Desk, ReadFailed, ScoredBlock, SplitEnd

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa

    from ..features.images import Mapper
    from ..model.first_rows import FirstOfBlock
    from ..scoring.scorer import Scorer
    from ..scoring.stages.dedupe import Repeats

#: One reader of Parquet keeps four cores busy (measured), more only cost memory; most of the work on a CSV is to read
#: it.
CORES_PER_READER = {"parquet": 4, "csv": 1}
#: Blocks on a GPU at once: one is copied in, one computed, one copied out and decoded.
GPU_LANES = 3
#: Blocks in flight take no more than this, unless one for each lane does; nor do those that wait for a lane.
FLYING_BYTES = 96 << 20


@dataclass(kw_only=True, slots=True)
class LoadedBlock:
    """A block on its way to the model. `num_bytes`: what its rows take, keys and features."""

    planned: PlannedPartition
    split: int
    first_row: int
    features: FeatureBatch
    first: FirstOfBlock | None
    repeats: Repeats | None
    times: StageTimes
    num_bytes: int


def run(job: ScoreJob, watcher: Watcher) -> RunManifest:
    """Score everything a job asks for.

    Returns:
        The manifest, as it was written to `_scoreline/run.json`; `_SUCCESS` stands beside it.

    Raises:
        ScorelineError: one of `errors.py`; what was published before stays, and `_SUCCESS` is not there.
    """
    clock, cores = RunClock(), available_cores()
    bundle = open_bundle(job.bundle)
    split_rows = job.split_rows or default_split_rows(bundle.model_bytes())
    with clock.times.stage_in_front("discover"):
        found = discover(job.input, format=job.format)
        refuse_overlap(found, job)
    store = Store(job.output)
    with ExitStack() as held:
        if known := store.is_ours():  # held before it is looked at
            store.prepare()
            held.enter_context(hold(store, job.run_id))
        with clock.times.stage_in_front("discover") as spent:
            standing = look(store, found.partitions, bundle.digest, job, split_rows, root=found.real_root)
            plan = make_plan(found, standing, bundle.manifest, job, split_rows)
            spent.rows, spent.bytes = plan.num_rows or 0, sum(p.size for p in found.partitions)
        if not known:
            _hold_fresh(store, job, held)
        say_found(watcher, found)
        say_plan(watcher, job, plan, cores)
        if (done := _nothing_to_do(store, plan, job, bundle.digest)) is not None:
            say_nothing_to_do(watcher, done)
            return done
        scorer = _load_scorer(bundle, job, watcher, held) if plan.partitions else None
        ledger = open_ledger(job, plan, bundle, scorer, clock)
        say_mixed(watcher, standing, ledger.made_with() if scorer else None)
        store.remove(SUCCESS)
        say_swept(watcher, store.sweep())
        watcher.start(plan.num_rows)
        with _manifest_written(store, ledger, watcher):
            for partition, parts in standing.kept.items():
                for record in parts.values():
                    ledger.keep(partition, record)
            for error in plan.failed:
                say_failed(watcher, error)
                ledger.fail(error)
            if scorer is not None:
                store.write(MANIFEST, encode_manifest(ledger.manifest(None, ended=False)))
                _score_splits(store, scorer, ledger, watcher, cores.count)
            _clear(store, ledger)
            ledger.settle()
            say_dedupe(watcher, ledger.clock.times)
            say_explained(watcher, ledger.clock.times, scorer)
            _look_again(store, ledger)
            say_new_inputs(watcher, _new_inputs(ledger))
    return ledger.manifest(None)


def _hold_fresh(store: Store, job: ScoreJob, held: ExitStack) -> None:
    """Make an output and hold it, now that the preflight has passed."""
    store.prepare()
    held.enter_context(hold(store, job.run_id))
    if next(store.parquet_files(), None) is not None:
        raise OutputLockedError(f"another run has just begun in {str(store.root)!r}; try again when it has ended")


def _nothing_to_do(store: Store, plan: Plan, job: ScoreJob, bundle: str) -> RunManifest | None:
    """The last run's manifest, where it tells of these very parts, all of them stand, and so does `_SUCCESS`: nothing
    is touched then."""
    standing = plan.standing
    kept = {part.target: part.rejects for parts in standing.kept.values() for part in parts.values()}
    if plan.partitions or plan.failed or not standing.complete or standing.surplus(kept):
        return None
    if job.prune and standing.orphans:
        return None
    manifest = standing.manifest
    if manifest is None or manifest.status != "success" or manifest.bundle.digest != bundle:
        return None
    if (manifest.root, manifest.roots) != (plan.discovery.real_root, standing.roots):
        return None  # where the input stands now is to be recorded
    told = {part.model_copy(update={"kept": True}) for part in recorded_parts(manifest).values()}
    stands = {part for parts in standing.kept.values() for part in parts.values()}
    if told != stands or manifest.orphans != standing.orphans:
        return None
    if not set(store.rejects_files()) <= {*kept.values(), *map(rejects_name, standing.orphans)}:
        return None  # rejects that no part names are to go
    allowed = job.max_rejects.allowed(manifest.rows_in)
    return manifest if manifest.rows_rejected <= allowed else None


def _clear(store: Store, ledger: Ledger) -> None:
    """Remove parts that were replaced under other names, now that their replacements stand, and, where that was asked
    for, parts whose input is gone; then rejects that no part names, which a run that was killed may have left."""
    standing = ledger.plan.standing
    made = {part.target: part.rejects for parts in ledger.parts.values() for part in parts}
    gone = standing.surplus(made, ledger.errors)
    if ledger.job.prune:
        gone += standing.orphans
        standing.orphans = []
    for name in gone:
        store.remove(name)
    named = {made.get(name, rejects_name(name)) for name in store.parquet_files()}
    for name in store.rejects_files():
        if name not in named:
            store.remove(name)


def _look_again(store: Store, ledger: Ledger) -> None:
    """Every part is where it was published: somebody may have moved or removed the output meanwhile."""
    parts = [part.target for parts in ledger.parts.values() for part in parts]
    gone = [name for name in parts if store.kind(name) != "file"]
    if gone:
        raise StorageError(
            f"{len(gone)} of {len(parts)} parts are gone from {str(store.root)!r}, {gone[0]!r} first: the output was"
            " changed while it was written; run the same command again"
        )


def _new_inputs(ledger: Ledger) -> list[str]:
    """Inputs that were not there when the run began. They are left for the next one."""
    try:
        now = discover(ledger.job.input, format=ledger.job.format).partitions
    except ScorelineError:  # all of them are gone by now
        return []
    known = {partition.name for partition in ledger.plan.discovery.partitions}
    return [partition.name for partition in now if partition.name not in known]


def _score_splits(store: Store, scorer: Scorer, ledger: Ledger, watcher: Watcher, cores: int) -> None:
    """Every split of the plan, read ahead, scored several blocks at once, published in order."""
    from .lanes import decoding, in_order, open_lanes
    from .readers import Readers  # torch: only once there is work

    lanes = cores if scorer.device.type == "cpu" else GPU_LANES
    depth, most_bytes = _depth(scorer, ledger, lanes), ledger.job.memory_bytes
    if most_bytes is None:
        most_bytes = max(FLYING_BYTES, lanes * MOST_BLOCK_BYTES)
    options = ledger.job.columns

    def load(planned: PlannedPartition) -> Iterator[LoadedBlock | SplitEnd | ReadFailed]:
        return load_blocks(planned, scorer, ledger.block_rows, dedupe=ledger.job.dedupe, decoders=decoders)

    def score(item: LoadedBlock | SplitEnd | ReadFailed) -> ScoredBlock | SplitEnd | ReadFailed:
        if not isinstance(item, LoadedBlock):
            return item
        try:
            return score_block(item, scorer, options)
        except BaseException:
            if item.repeats is not None:
                item.repeats.table.give_up()  # blocks behind this one wait for it
            raise

    with (
        decoding(cores if scorer.images else 0) as decoders,
        Readers(
            ledger.plan.partitions,
            load,
            num_threads=num_readers(ledger.plan, cores),
            most_bytes=min(most_bytes, FLYING_BYTES),
            weigh=_weight,
        ) as readers,
        open_lanes(lanes, stop=scorer.members.stop) as pool,
        Desk(store, ledger, watcher) as desk,
    ):
        halved, retries = None, Retries(partial(say_retried, watcher))
        for item in in_order(readers.loader(), score, pool, depth=depth, most_bytes=most_bytes, weigh=_weight):
            if scorer.members.fitting_rows != halved:
                halved = scorer.members.fitting_rows
                say_halved(watcher, halved)
            match item:
                case ScoredBlock():
                    name, retried = item.planned.partition.name, item.block.retried
                    retries.see(retried, source=name, first_row=item.first_row, rows=item.num_rows)
                    desk.write(item)
                case SplitEnd():
                    desk.publish(item)
                case ReadFailed():
                    desk.fail(item.error)
        say_all_retried(watcher, retries)


def _weight(item: LoadedBlock | SplitEnd | ReadFailed) -> int:
    return item.num_bytes if isinstance(item, LoadedBlock) else 0


def num_readers(plan: Plan, cores: int) -> int:
    """How many files are read at once."""
    needed = min(CORES_PER_READER[planned.partition.format] for planned in plan.partitions)
    return max(1, min(cores // needed, len(plan.partitions)))


def _depth(scorer: Scorer, ledger: Ledger, lanes: int) -> int:
    """How many blocks are in flight: enough that the lanes have work while a row group is written (half of one was as
    good as all, measured), and no more than there is room for. It bounds what waits, not what is computed."""
    columns = max(len(planned.read.names) for planned in ledger.plan.partitions)
    block_bytes = ledger.block_rows * (8 * columns + 4 * scorer.values_per_row())
    if scorer.images:  # nobody knows how large their files are
        return 2 * lanes
    depth = max(2 * lanes, min(ROW_GROUP_ROWS // ledger.block_rows // 2, FLYING_BYTES // block_bytes))
    if ledger.job.memory_bytes is None:
        return depth
    return max(lanes, min(depth, ledger.job.memory_bytes // block_bytes))


def load_blocks(
    planned: PlannedPartition,
    scorer: Scorer,
    rows: int,
    *,
    dedupe: bool = False,
    decoders: ThreadPoolExecutor | None = None,
) -> Generator[LoadedBlock | SplitEnd | ReadFailed]:
    """read → check → scale, images on the way and the rows that repeat, in a reader thread.

    Args:
        decoders: decode images; while they do, one of them reads what comes next.
    """
    from ..model.first_rows import FirstRows
    from ..scoring.stages.dedupe import SplitTable  # torch, which is here by now
    from .lanes import one_ahead

    pieces = read_splits(planned, rows)
    mapper: Mapper = map
    if decoders is not None:
        pieces, mapper = one_ahead(pieces, decoders), decoders.map
    table, first = SplitTable(), FirstRows()
    while True:
        times = StageTimes()
        try:
            with times.stage("read") as spent:
                piece = next(pieces, None)
        except PartitionError as error:
            yield ReadFailed(error=error, times=times)
            return
        if piece is None:
            return
        if isinstance(piece, Split):
            yield SplitEnd(planned=planned, split=piece, times=times)
            table = SplitTable()
            continue
        batch, size = piece.batch, batch_bytes(piece.batch)
        spent.rows, spent.bytes = batch.num_rows, size
        with times.stage("check") as spent:
            checked = scorer.check(batch, text=planned.text, dialect=planned.dialect, unreadable=piece.unreadable)
            spent.rows, spent.bytes = batch.num_rows, size
        if scorer.images:
            with times.stage("images") as spent:
                spent.rows, folder = checked.num_kept, os.path.dirname(planned.partition.path)  # noqa: PTH120
                checked = scorer.decode_images(checked, folder, mapper)
                spent.bytes = checked.num_kept * 4 * scorer.values_per_row()
        with times.stage("scale") as spent:
            features = scorer.scale(checked)
            spent.rows = features.num_kept
            spent.bytes = sum(given.nbytes for given in features.inputs.values())
        repeats = None
        if dedupe and features.num_kept:
            with times.stage("dedupe") as spent:
                repeats = table.find(dense(features.inputs))
                spent.rows = features.num_kept
        # Parts that stand were made before: the first rows behind them are the first of the file only where nothing
        # was scored in those. Else an interrupted run could end otherwise than one that was not.
        fresh = features.num_kept if repeats is None else len(repeats.fresh)
        yield LoadedBlock(
            planned=planned,
            split=piece.split,
            first_row=piece.first_row,
            features=features,
            first=first.announce(fresh) if planned.nothing_scored or piece.split == 0 else None,
            repeats=repeats,
            times=times,
            num_bytes=size + sum(given.nbytes for given in features.inputs.values()),
        )


def score_block(item: LoadedBlock, scorer: Scorer, options: ColumnOptions) -> ScoredBlock:
    """transfer → forward → decode, in a lane."""
    times, features, planned = item.times, item.features, item.planned
    source = planned.partition.name
    scored = features if item.repeats is None else scorer.only(features, item.repeats.fresh)
    with times.stage("transfer") as spent:
        moved = scorer.transfer(scored)
        spent.rows, spent.bytes = scored.num_kept, sum(t.nbytes for t in scored.inputs.values())
    with times.stage("forward") as spent:
        try:
            raw = scorer.forward(moved, first=item.first)
        except ModelFailedError as error:
            last = item.first_row + features.batch.num_rows - 1
            raise ModelFailedError(f"{source}: rows {item.first_row} to {last}: {error}") from error
        spent.rows, spent.bytes = scored.num_kept, sum(t.nbytes for t in raw.heads.values())
    if item.repeats is not None:
        raw, moved = scorer.repeated(raw, item.repeats), features
    for stage, seconds in raw.device_s.items():  # the clock here has measured the queue as well, or all in one
        times[stage].busy_s = seconds
        times[stage].rows = scored.num_kept
    if item.repeats is not None and (options.hidden or options.explain):
        moved = scorer.transfer(features)
    hidden: list[pa.Array] = []
    if options.hidden:
        with times.stage("hidden") as spent:
            hidden = scorer.hidden(moved, raw)
            spent.rows, spent.bytes = features.num_kept, sum(column.nbytes for column in hidden)
    with times.stage("decode"):
        decoded = scorer.decode(moved, raw, options, hidden)
    if options.explain:
        with times.stage("explain") as spent:
            decoded, spent.rows = scorer.explain(moved, decoded, options, source=source, first_row=item.first_row)
    with times.stage("decode") as spent:
        block = ScoredBatch(
            rows=assemble(features.batch, decoded.kept, decoded.columns, planned.schema),
            rejects=assemble_rejects(features.batch, decoded.rejects, source=source, first_row=item.first_row),
            out_of_bounds=decoded.out_of_bounds,
            retried=raw.retried,
        )
        spent.rows, spent.bytes = block.rows.num_rows, block.rows.nbytes
    return ScoredBlock(
        planned=planned,
        split=item.split,
        first_row=item.first_row,
        block=block,
        num_rows=features.batch.num_rows,
        times=times,
    )


def _load_scorer(bundle: Bundle, job: ScoreJob, watcher: Watcher, held: ExitStack) -> Scorer:
    from ..model.modes import pinned  # the heavy half of a run: torch, and only once there is work
    from ..model.reproducible import reproducible
    from ..scoring.scorer import Scorer

    held.enter_context(pinned())
    held.enter_context(reproducible(seed=job.seed, deterministic=job.deterministic))
    scorer = Scorer.for_job(bundle, job)
    golden = scorer.golden
    assert golden is not None, "a scorer that is loaded has replayed its golden rows"
    watcher.event(
        "bundle_loaded",
        bundle=str(bundle.path),
        digest=bundle.digest,
        device=str(scorer.device),
        batch_rows=scorer.block_rows,
        pass_rows=scorer.members.pass_rows,
        batch_reason=scorer.block_reason,
        folded_layers=scorer.folded,
        dropped_layers=scorer.dropped,
        compiled=job.compile and scorer.not_compiled is None,
        golden_rows=golden.rows,
        golden_source=golden.source,
        golden_largest_difference=golden.largest_difference,
    )
    if scorer.not_compiled is not None:
        watcher.event("not_compiled", level="warning", reason=scorer.not_compiled)
    return scorer


@contextmanager
def _manifest_written(store: Store, ledger: Ledger, watcher: Watcher) -> Iterator[None]:
    """Whatever happens inside, run.json and the last log line tell of it; `_SUCCESS` only of success."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:  # a signal, too
        error = raised
        raise
    finally:
        manifest = ledger.manifest(error)
        try:
            if error is not None:  # a signal may have come between the making of a temporary and the noting of it
                store.sweep()
            store.write(MANIFEST, encode_manifest(manifest))
            if error is None:
                store.write(SUCCESS, b"")
        except ScorelineError as second:
            if error is None:
                raise
            watcher.event("manifest_not_written", level="error", reason=str(second))
        say_end(watcher, manifest)
