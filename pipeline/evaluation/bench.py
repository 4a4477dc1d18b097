"""Our stages against their limits on this machine: each alone, then the whole, and the ratio of the two.

The limit of a run is `max(Σ CPU seconds ÷ cores, the slowest stage that one thread does)`: no arrangement of the same
work could be faster. Every figure is the median of a few rounds; on a shared machine only ratios of one report mean
anything.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, thread_time
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from ...schemas.members import GraphMember
from ...schemas.run import Receipt
from ..bundle.bundle import Bundle, open_bundle, read_graph
from ..cores import Cores, available_cores
from ..errors import UsageError
from ..features.kinds import kind_of
from ..graph.interpreter import build
from ..inputs.discover import discover
from ..model.first_rows import FirstRows
from ..model.forward import called, head_output
from ..model.modes import pinned
from ..model.passes import Pass
from ..model.weights import read_weights
from ..options import ScoreJob
from ..outputs.assemble import assemble, assemble_rejects
from ..outputs.part_file import PartFile
from ..outputs.store import Store
from ..planning.existing import Standing
from ..planning.fingerprint import fingerprint
from ..planning.plan import Plan, PlannedPartition, default_split_rows, make_plan
from ..planning.splits import read_splits
from ..records import Block, FeatureBatch
from ..running.events import Silent
from ..running.run import num_readers, run
from ..scoring.scorer import Scorer
from ..tasks.tasks import task_of

#: Rows that the stages are measured on, one by one; the whole runs over all.
MOST_ROWS = 1 << 20
#: Rows that an estimate scores, and what a run takes beyond its limit and before its first row (docs/benchmarks.md).
ESTIMATE_ROWS, ABOVE_LIMIT, START_UP_S = 1 << 17, 1.25, 0.9
#: Blocks that the comparisons of the forward pass take.
FEW_BLOCKS = 4
#: Passes after the whole that are not counted: the allocators settle anew.
WARM_PASSES = 1
STAGES = ("read", "check + scale", "transfer + forward", "decode", "write + publish")
#: Raw outputs that differ by less are the same to rounding.
LIKE_ROUNDING = 1e-4


@dataclass(kw_only=True, slots=True)
class StageCost:
    """A stage alone, for all rows of the input: seconds on the clock, and of CPU time over all threads."""

    name: str
    wall_s: float
    cpu_s: float


@dataclass(kw_only=True, slots=True)
class BenchReport:
    """What was measured. `limit_s`: of the steady part; `steady_s`: from the first block to the last publish."""

    rows: int
    cores: Cores
    device: str
    batch_rows: int
    stages: list[StageCost] = field(default_factory=list)
    forward_rows_per_s: dict[str, float] = field(default_factory=dict)
    steady_s: float = 0.0
    startup_s: float = 0.0
    limit_s: float = 0.0
    limited_by: str = ""
    output_bytes: int = 0
    train_changes: TrainChanges | None = None

    @property
    def ratio(self) -> float:
        """How many times its limit the steady part takes."""
        return self.steady_s / max(self.limit_s, 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainChanges:
    """What train mode would do to the raw outputs of some rows."""

    rows: int
    changed: int
    largest: float


@pinned()
def bench(job: ScoreJob, *, rounds: int = 3) -> BenchReport:
    """Measure a bundle on an input. Writes to a temporary folder, which is gone afterwards.

    Args:
        job: its output is not used.
    """
    bundle = open_bundle(job.bundle)
    refuse(bundle)
    scorer = Scorer.for_job(bundle, job)
    split_rows = job.split_rows or default_split_rows(bundle.model_bytes())
    plan = make_plan(discover(job.input, format=job.format), Standing(), bundle.manifest, job, split_rows)
    if plan.failed:
        raise plan.failed[0]
    report = BenchReport(
        rows=0,
        cores=available_cores(),
        device=str(scorer.device),
        batch_rows=scorer.block_rows,
    )
    _whole(job, report, rounds)
    blocks = _each_alone(plan, scorer, job, report, rounds)
    _forward_modes(scorer, blocks, report, rounds)
    report.train_changes = _train_against_eval(bundle, scorer, blocks[0]) if blocks else None
    return report


def refuse(bundle: Bundle) -> None:
    """Raise UsageError for what is not benched: other inputs than tables, and generation."""
    other = [entry.kind for entry in bundle.manifest.inputs if not kind_of(entry).tabular]
    if other:
        raise UsageError(f"the bench is for tables, and the bundle takes {other[0]}s; scoreline score times those")
    if any(task_of(head).generates for head in bundle.manifest.heads):
        raise UsageError("the bench is for models that run once a row, not for generation; scoreline score times those")


def _whole(job: ScoreJob, report: BenchReport, rounds: int) -> None:
    """The run itself, with every check, receipt and timing on."""
    steady, startup = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="scoreline-bench-") as folder:
            manifest = run(replace(job, output=f"{folder}/out"), Silent())
        report.rows = manifest.rows_in
        report.output_bytes = manifest.stages["publish"].bytes
        steady.append(manifest.wall_s - manifest.startup_s - manifest.stages["discover"].waiting_s)
        startup.append(manifest.startup_s + manifest.stages["discover"].waiting_s)
    report.steady_s, report.startup_s = median(steady), median(startup)


def _each_alone(plan: Plan, scorer: Scorer, job: ScoreJob, report: BenchReport, rounds: int) -> list[FeatureBatch]:
    """Every stage on one thread, block by block, nothing beside it; fills in the limit. Returns the first blocks."""
    clocks: list[_Pass] = []
    for number in range(WARM_PASSES + rounds):
        for clock in clocks:
            clock.first_blocks.clear()  # memory that is held is memory that cannot be used again, and faults
        if number == WARM_PASSES:
            clocks.clear()
        clocks.append(run_pass(plan, scorer, job, report.batch_rows))
    for name in STAGES:
        scale = report.rows / max(1, clocks[0].rows)
        report.stages.append(
            StageCost(
                name=name,
                wall_s=scale * median(clock.wall_s[name] for clock in clocks),
                cpu_s=scale * median(clock.cpu_s[name] for clock in clocks),
            )
        )
    fill_limit(report, {cost.name: cost for cost in report.stages}, num_readers(plan, report.cores.count))
    return clocks[-1].first_blocks


@dataclass(kw_only=True, slots=True)
class _Pass:
    """The clocks of one pass over the first rows of an input."""

    wall_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    cpu_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    most_rows: int = MOST_ROWS
    rows: int = 0
    output_bytes: int = 0
    first_blocks: list[FeatureBatch] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Seconds of this thread; those that a reader's other threads spend meanwhile are reckoned to reading."""
        wall, cpu = perf_counter(), thread_time()
        yield
        self.wall_s[name] += perf_counter() - wall
        self.cpu_s[name] += thread_time() - cpu


def run_pass(plan: Plan, scorer: Scorer, job: ScoreJob, block_rows: int, most_rows: int = MOST_ROWS) -> _Pass:
    """read → … → publish over at most `most_rows` rows."""
    clock, started = _Pass(most_rows=most_rows), process_time()
    with tempfile.TemporaryDirectory(prefix="scoreline-bench-") as folder:
        store = Store(folder)
        for planned in plan.partitions:
            first = FirstRows()
            part = PartFile(store, name="part.parquet", schema=planned.schema, read=planned.read_with_hive)
            for block in _blocks(planned, block_rows, clock):
                rows, rejects = _scored(planned, block, scorer, job, clock, first)
                with clock.stage("write + publish"):
                    part.write(rows, rejects)
            with clock.stage("write + publish"):
                clock.output_bytes += part.publish("part.parquet", _receipt(planned, part)).num_bytes
            if clock.rows >= most_rows:
                break
    others = sum(seconds for name, seconds in clock.cpu_s.items() if name != "read")
    clock.cpu_s["read"] = max(0.0, process_time() - started - others)
    return clock


def _blocks(planned: PlannedPartition, block_rows: int, clock: _Pass) -> Iterator[Block]:
    with closing(read_splits(planned, block_rows)) as pieces:
        while clock.rows < clock.most_rows:
            with clock.stage("read"):
                piece = next(pieces, None)
            if piece is None:
                return
            if isinstance(piece, Block):
                clock.rows += piece.batch.num_rows
                yield piece


def _scored(
    planned: PlannedPartition, block: Block, scorer: Scorer, job: ScoreJob, clock: _Pass, first: FirstRows
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    with clock.stage("check + scale"):
        features = scorer.prepare(
            block.batch,
            folder=str(Path(planned.partition.path).parent),
            text=planned.text,
            dialect=planned.dialect,
            unreadable=block.unreadable,
        )
    if len(clock.first_blocks) < FEW_BLOCKS:
        clock.first_blocks.append(features)
    with clock.stage("transfer + forward"):
        moved = scorer.transfer(features)
        raw = scorer.forward(moved, first=first.announce(features.num_kept))
    with clock.stage("decode"):
        decoded = scorer.decode(moved, raw, job.columns, scorer.hidden(moved, raw))
        source, first_row = planned.partition.name, block.first_row
        decoded, _ = scorer.explain(moved, decoded, job.columns, source=source, first_row=first_row)
        rows = assemble(block.batch, decoded.kept, decoded.columns, planned.schema)
        rejects = assemble_rejects(block.batch, decoded.rejects, source=source, first_row=first_row)
    return rows, rejects


def fill_limit(report: BenchReport, costs: dict[str, StageCost], readers: int) -> None:
    cores = report.cores.count
    limits = {
        f"CPU time over {cores} cores": sum(cost.cpu_s for cost in costs.values()) / cores,
        f"reading, {readers} at once": (costs["read"].wall_s + costs["check + scale"].wall_s) / readers,
        "writing, one thread": costs["write + publish"].wall_s,
    }
    report.limited_by = max(limits, key=lambda name: limits[name])
    report.limit_s = limits[report.limited_by]


def _seconds(work: Callable[[], Any]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _receipt(planned: PlannedPartition, part: PartFile) -> Receipt:
    rows = part.num_rows + part.num_rejects
    mark = fingerprint(planned.partition, 0, "sha256:" + "0" * 64, ScoreJob(bundle="", input="", output="", run_id=""))
    return Receipt(
        fingerprint=mark,
        root="",
        split=0,
        last=True,
        num_keys=planned.num_keys,
        rows_in=rows,
        rows_scored=part.num_rows,
        rows_rejected=part.num_rejects,
        rejects=None,
        made_with={},
    )


def _forward_modes(scorer: Scorer, blocks: list[FeatureBatch], report: BenchReport, rounds: int) -> None:
    """The forward pass with gradients, without, and in inference mode, each over the same blocks."""
    rows = sum(block.num_kept for block in blocks)
    if not rows:
        return
    passes = [one for block in blocks for one in scorer.members.passes.cut(scorer.transfer(block).inputs)]
    for mode, context in (
        ("gradients recorded", _gradients),
        ("no_grad", lambda _: torch.no_grad()),
        ("inference_mode", lambda _: torch.inference_mode()),
    ):
        seconds = []
        for _ in range(rounds):
            with context(scorer.members.models):
                seconds.append(_seconds(lambda: _called_all(scorer, passes)))
        report.forward_rows_per_s[mode] = rows / max(median(seconds), 1e-9)


def _called_all(scorer: Scorer, passes: Sequence[Pass]) -> None:
    for model in scorer.members.models:
        for one in passes:
            called(model, scorer.members.arguments(one), scorer.manifest.call)
    if scorer.device.type == "cuda":
        torch.cuda.synchronize(scorer.device)


@contextmanager
def _gradients(models: Sequence[nn.Module]) -> Iterator[None]:
    """Weights that ask for gradients, as in a loop that has forgotten `no_grad`."""
    weights = [weight for model in models for weight in model.parameters() if weight.is_floating_point()]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)


def _train_against_eval(bundle: Bundle, scorer: Scorer, block: FeatureBatch) -> TrainChanges | None:
    """The first member's graph as it was saved, in both modes; None where it is no graph."""
    member = bundle.manifest.members[0]
    if not isinstance(member, GraphMember) or not block.num_kept:
        return None
    graph = read_graph(bundle.read(member.graph), member.graph)
    model = build(graph, read_weights(bundle.read(member.weights), member.weights))
    head, call = bundle.manifest.heads[0], bundle.manifest.call
    training, members, pieces = copy.deepcopy(model).train(), scorer.members, []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for one in members.passes.cut(block.inputs):
            quiet, noisy = (
                head_output(called(each, members.arguments(one), call), head.output, one.num_rows)
                for each in (model, training)
            )
            pieces.append((noisy - quiet).abs().reshape(one.num_rows, -1).amax(dim=1))
    apart = torch.cat(pieces)
    return TrainChanges(rows=block.num_kept, changed=int((apart > LIKE_ROUNDING).sum()), largest=float(apart.max()))
