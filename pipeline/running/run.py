"""Runs one job from start to end: discover, plan, load the bundle, pass every block through the line, publish.

Reader threads read and load blocks, lanes score them, the calling thread writes and publishes them in order
(`scoring/line.py` lists the stages). Every queue is bounded, so memory does not grow with the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle, open_bundle
from ..cores import available_cores
from ..errors import ScorelineError
from ..events import Emitter, Subscriber
from ..inputs.cut import MOST_BLOCK_BYTES
from ..inputs.discover import discover
from ..inputs.formats import FORMATS
from ..options import ScoreJob
from ..outputs.lock import lock_output
from ..outputs.manifest import encode_manifest
from ..outputs.part_file import ROW_GROUP_ROWS
from ..outputs.store import MANIFEST, SUCCESS, Store
from ..planning.existing import scan_output
from ..planning.option_check import checked_job
from ..planning.plan import Plan, PlannedPartition, default_split_rows, make_plan, refuse_overlap
from ..scoring.line import Line, LineOptions, compose
from ..scoring.retries import Retries
from .commit import (
    check_parts_exist,
    lock_new_output,
    remove_replaced_parts,
    up_to_date_manifest,
    write_manifest_at_end,
)
from .events import (
    BundleLoaded,
    ModelNotCompiled,
    NewInputsFound,
    NothingToDo,
    OutOfMemory,
    PartitionFailed,
    RunStarted,
    ScoringStarted,
    TemporariesRemoved,
)
from .findings import block_retried, blocks_retried, input_findings, kept_part_differences, output_findings
from .flow import Loaded, LoadedBlock, ReadFailed, ScoredBlock, SplitEnd, load_blocks, score_block
from .ledger import Ledger, RunClock, open_ledger
from .publisher import Publisher

if TYPE_CHECKING:
    from ..scoring.scorer import Scorer

#: The limit for blocks in flight, unless one block for each lane takes more; also for blocks that wait for a lane.
MAX_IN_FLIGHT_BYTES = 96 << 20


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
            existing = scan_output(store, found.partitions, bundle.digest, job, split_rows, root=found.real_root)
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
                store.write(MANIFEST, encode_manifest(ledger.manifest(None, ended=False)))
                line = _score_splits(store, scorer, ledger, emit, cores.count)
            remove_replaced_parts(store, ledger)
            ledger.check_final_limits()
            if line is not None:
                emit(*line.summary(clock.times))
            check_parts_exist(store, ledger)
            if names := _new_inputs(ledger):
                emit(NewInputsFound(count=len(names), first=names[0]))
    return ledger.manifest(None)


def _new_inputs(ledger: Ledger) -> list[str]:
    """Inputs that appeared after the run began. They are left for the next run."""
    try:
        now = discover(ledger.job.input, format=ledger.job.format).partitions
    except ScorelineError:  # the input is gone
        return []
    known = {partition.name for partition in ledger.plan.discovery.partitions}
    return [partition.name for partition in now if partition.name not in known]


def _score_splits(store: Store, scorer: Scorer, ledger: Ledger, emit: Emitter, cores: int) -> Line:
    """Score every split of the plan: read ahead, several blocks at once, published in order. Returns the line that the
    blocks passed through."""
    from .lanes import Room, Waits, map_ordered, open_decoders, open_lanes
    from .readers import Readers  # imports torch, only if there is work

    loaded, options = scorer.loaded, LineOptions.of(ledger.job)
    lanes, line = loaded.device.lanes or cores, compose(loaded, options)
    max_bytes = ledger.job.memory_bytes
    if max_bytes is None:
        max_bytes = max(MAX_IN_FLIGHT_BYTES, lanes * MOST_BLOCK_BYTES)

    def load(planned: PlannedPartition) -> Iterator[Loaded]:
        return load_blocks(planned, loaded, options, ledger.block_rows, decoders)

    with (
        open_decoders(cores if line.opens_files else 0) as decoders,
        Readers(
            ledger.plan.partitions,
            load,
            num_threads=num_readers(ledger.plan, cores),
            max_bytes=min(max_bytes, MAX_IN_FLIGHT_BYTES),
            weigh=_weight,
        ) as readers,
        open_lanes(lanes, stop=scorer.members.stop) as pool,
        Publisher(store, ledger, emit) as publisher,
    ):
        halved, retries = None, Retries(lambda first: emit(block_retried(first)))
        flow = map_ordered(
            readers.loader(),
            lambda item: score_block(item, line),
            pool,
            room=Room(depth=_depth(scorer, ledger, lanes, opens_files=line.opens_files), max_bytes=max_bytes),
            weigh=_weight,
            waits=Waits(loading=line.load_names, scoring=line.score_names),
        )
        for item in flow:
            if scorer.members.max_rows_in_memory != halved:
                halved = scorer.members.max_rows_in_memory
                emit(OutOfMemory(rows_at_once=halved))
            match item:
                case ScoredBlock():
                    name, retried = item.planned.partition.name, item.scored.retried
                    retries.add(retried, source=name, first_row=item.first_row, rows=item.num_rows)
                    publisher.write(item)
                case SplitEnd():
                    publisher.publish(item)
                case ReadFailed():
                    publisher.fail(item.error)
        emit(*blocks_retried(retries))
    return line


def _weight(item: Loaded) -> int:
    return item.num_bytes if isinstance(item, LoadedBlock) else 0


def num_readers(plan: Plan, cores: int) -> int:
    """The number of files to read at once."""
    needed = min(FORMATS[planned.partition.format].cores_per_reader for planned in plan.partitions)
    return max(1, min(cores // needed, len(plan.partitions)))


def _depth(scorer: Scorer, ledger: Ledger, lanes: int, *, opens_files: bool) -> int:
    """The number of blocks in flight: enough that the lanes have work while a row group is written (half a row group is
    as good as a whole one, measured), within the memory limit. Bounds waiting blocks; results do not depend on it."""
    columns = max(len(planned.read.names) for planned in ledger.plan.partitions)
    block_bytes = ledger.block_rows * (8 * columns + 4 * scorer.loaded.values_per_row())
    if opens_files:  # of unknown size
        return 2 * lanes
    depth = max(2 * lanes, min(ROW_GROUP_ROWS // ledger.block_rows // 2, MAX_IN_FLIGHT_BYTES // block_bytes))
    if ledger.job.memory_bytes is None:
        return depth
    return max(lanes, min(depth, ledger.job.memory_bytes // block_bytes))


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
