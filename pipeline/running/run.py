"""One job from start to end: discover, plan, load the bundle, run every block through the line, publish.

Reader threads read and load blocks, lanes score them, the calling thread writes and publishes them in order
(`scoring/line.py` says which stages there are). Everything is bounded, so memory does not grow with the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from ...schemas.run import RunManifest
from ..bundle.bundle import Bundle, open_bundle
from ..cores import available_cores
from ..errors import ScorelineError
from ..inputs.cut import MOST_BLOCK_BYTES
from ..inputs.discover import discover
from ..inputs.formats import CORES_PER_READER
from ..options import ScoreJob
from ..outputs.lock import lock_output
from ..outputs.manifest import encode_manifest
from ..outputs.part_file import ROW_GROUP_ROWS
from ..outputs.store import MANIFEST, SUCCESS, Store
from ..planning.existing import scan_output
from ..planning.plan import Plan, PlannedPartition, default_split_rows, make_plan, refuse_overlap
from ..scoring.line import LineOptions, compose
from ..scoring.retries import Retries
from .commit import (
    check_parts_exist,
    lock_new_output,
    remove_replaced_parts,
    up_to_date_manifest,
    write_manifest_at_end,
)
from .events import (
    Watcher,
    say_all_retried,
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
from .flow import Loaded, LoadedBlock, ReadFailed, ScoredBlock, SplitEnd, load_blocks, score_block
from .ledger import Ledger, RunClock, open_ledger
from .publisher import Publisher

if TYPE_CHECKING:
    from ..scoring.scorer import Scorer

#: Blocks in flight take no more than this, unless one for each lane does; nor do those that wait for a lane.
MAX_IN_FLIGHT_BYTES = 96 << 20


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
    with clock.times.blocking_stage("discover"):
        found = discover(job.input, format=job.format)
        refuse_overlap(found, job)
    store = Store(job.output)
    with ExitStack() as held:
        if known := store.is_ours():  # held before it is looked at
            store.prepare()
            held.enter_context(lock_output(store, job.run_id))
        with clock.times.blocking_stage("discover") as spent:
            existing = scan_output(store, found.partitions, bundle.digest, job, split_rows, root=found.real_root)
            plan = make_plan(found, existing, bundle.manifest, job, split_rows)
            spent.rows, spent.bytes = plan.num_rows or 0, sum(p.size for p in found.partitions)
        if not known:
            lock_new_output(store, job, held)
        say_found(watcher, found)
        say_plan(watcher, job, plan, cores)
        if (done := up_to_date_manifest(store, plan, job, bundle.digest)) is not None:
            say_nothing_to_do(watcher, done)
            return done
        scorer = _load_scorer(bundle, job, watcher, held) if plan.partitions else None
        ledger = open_ledger(job, plan, bundle, scorer, clock)
        say_mixed(watcher, existing, ledger.made_with() if scorer else None)
        store.remove(SUCCESS)
        say_swept(watcher, store.remove_temporaries())
        watcher.start(plan.num_rows)
        with write_manifest_at_end(store, ledger, watcher):
            for partition, parts in existing.kept.items():
                for record in parts.values():
                    ledger.keep(partition, record)
            for error in plan.failed:
                say_failed(watcher, error)
                ledger.fail(error)
            if scorer is not None:
                store.write(MANIFEST, encode_manifest(ledger.manifest(None, ended=False)))
                _score_splits(store, scorer, ledger, watcher, cores.count)
            remove_replaced_parts(store, ledger)
            ledger.check_final_limits()
            check_parts_exist(store, ledger)
            say_new_inputs(watcher, _new_inputs(ledger))
    return ledger.manifest(None)


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
    from .lanes import Room, Waits, decoding, map_ordered, open_lanes
    from .readers import Readers  # torch: only once there is work

    loaded, options = scorer.loaded, LineOptions.of(ledger.job)
    lanes, line = loaded.device.lanes or cores, compose(loaded, options)
    most_bytes = ledger.job.memory_bytes
    if most_bytes is None:
        most_bytes = max(MAX_IN_FLIGHT_BYTES, lanes * MOST_BLOCK_BYTES)

    def load(planned: PlannedPartition) -> Iterator[Loaded]:
        return load_blocks(planned, loaded, options, ledger.block_rows, decoders)

    with (
        decoding(cores if "images" in line.load_names else 0) as decoders,
        Readers(
            ledger.plan.partitions,
            load,
            num_threads=num_readers(ledger.plan, cores),
            most_bytes=min(most_bytes, MAX_IN_FLIGHT_BYTES),
            weigh=_weight,
        ) as readers,
        open_lanes(lanes, stop=scorer.members.stop) as pool,
        Publisher(store, ledger, watcher) as publisher,
    ):
        halved, retries = None, Retries(partial(say_retried, watcher))
        flow = map_ordered(
            readers.loader(),
            lambda item: score_block(item, line),
            pool,
            room=Room(depth=_depth(scorer, ledger, lanes), most_bytes=most_bytes),
            weigh=_weight,
            waits=Waits(loading=line.load_names, scoring=line.score_names),
        )
        for item in flow:
            if scorer.members.max_rows_in_memory != halved:
                halved = scorer.members.max_rows_in_memory
                say_halved(watcher, halved)
            match item:
                case ScoredBlock():
                    name, retried = item.planned.partition.name, item.scored.retried
                    retries.see(retried, source=name, first_row=item.first_row, rows=item.num_rows)
                    publisher.write(item)
                case SplitEnd():
                    publisher.publish(item)
                case ReadFailed():
                    publisher.fail(item.error)
        say_all_retried(watcher, retries)
    for name, fields in line.summary(ledger.clock.times):
        watcher.event(name, **fields)


def _weight(item: Loaded) -> int:
    return item.num_bytes if isinstance(item, LoadedBlock) else 0


def num_readers(plan: Plan, cores: int) -> int:
    """How many files are read at once."""
    needed = min(CORES_PER_READER[planned.partition.format] for planned in plan.partitions)
    return max(1, min(cores // needed, len(plan.partitions)))


def _depth(scorer: Scorer, ledger: Ledger, lanes: int) -> int:
    """How many blocks are in flight: enough that the lanes have work while a row group is written (half of one was as
    good as all, measured), and no more than there is room for. It bounds what waits, not what is computed."""
    columns = max(len(planned.read.names) for planned in ledger.plan.partitions)
    block_bytes = ledger.block_rows * (8 * columns + 4 * scorer.loaded.values_per_row())
    if "images" in ledger.stage_names:  # nobody knows how large their files are
        return 2 * lanes
    depth = max(2 * lanes, min(ROW_GROUP_ROWS // ledger.block_rows // 2, MAX_IN_FLIGHT_BYTES // block_bytes))
    if ledger.job.memory_bytes is None:
        return depth
    return max(lanes, min(depth, ledger.job.memory_bytes // block_bytes))


def _load_scorer(bundle: Bundle, job: ScoreJob, watcher: Watcher, held: ExitStack) -> Scorer:
    from ..model.modes import pinned  # the heavy half of a run: torch, and only once there is work
    from ..model.reproducible import reproducible
    from ..scoring.scorer import Scorer

    held.enter_context(pinned())
    held.enter_context(reproducible(seed=job.seed, deterministic=job.deterministic))
    scorer = Scorer.for_job(bundle, job)
    golden = scorer.golden
    watcher.event(
        "bundle_loaded",
        bundle=str(bundle.path),
        digest=bundle.digest,
        device=str(scorer.device),
        batch_rows=scorer.block_rows,
        pass_rows=scorer.members.pass_rows,
        batch_reason=scorer.block_reason,
        folded_layers=scorer.loaded.folded,
        dropped_layers=scorer.loaded.dropped,
        compiled=job.compile and scorer.not_compiled is None,
        golden_rows=golden.rows,
        golden_source=golden.source,
        golden_largest_difference=golden.largest_difference,
    )
    if scorer.not_compiled is not None:
        watcher.event("not_compiled", level="warning", reason=scorer.not_compiled)
    return scorer
