"""Compares the time of a run with the limit of this machine: each stage by itself, the whole run, and their ratio.

The limit of a run is `max(Σ CPU seconds ÷ cores, the slowest stage that one thread does)`: no arrangement of the same
work could be faster. Every figure is the median of several rounds; on a shared machine only ratios within one report
are meaningful.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from ...schemas.members import GraphMember
from ..bundle.bundle import Bundle, open_bundle, read_graph
from ..cores import Cores, available_cores
from ..errors import DataError, UsageError
from ..features.kinds import kind_of
from ..graph.interpreter import build
from ..inputs.discover import discover
from ..model.forward import call_model, head_output
from ..model.modes import pinned
from ..model.passes import Pass
from ..model.weights import read_weights
from ..options import RejectBudget, ScoreJob
from ..planning.existing import ExistingParts
from ..planning.plan import Plan, default_split_rows, make_plan
from ..records import FeatureBatch
from ..running.run import run
from ..running.work import num_readers
from ..scoring.scorer import Scorer
from ..tasks.tasks import task_of
from .stage_costs import STAGES, BenchPass, StageCost, limit_of, run_pass

#: Passes after the whole run that are not counted, until memory allocation is steady again.
WARM_PASSES = 1
#: Smaller differences between raw outputs are rounding errors.
ROUNDING = 1e-4


@dataclass(kw_only=True, slots=True)
class BenchReport:
    """The measurements. `steady_s`: from the first block to the last publish; `limit_s`: the limit for that time."""

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
        """The steady time as a multiple of its limit."""
        return self.steady_s / max(self.limit_s, 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainChanges:
    """How train mode would change the raw outputs of some rows."""

    rows: int
    changed: int
    largest: float


@pinned()
def bench(job: ScoreJob, *, rounds: int = 3) -> BenchReport:
    """Measure a bundle on an input. Writes to a temporary folder, which is removed afterwards.

    Args:
        job: its output is not used, and any row may be rejected.

    Raises:
        DataError: no row can be scored.
    """
    job = replace(job, max_rejects=RejectBudget(count=None, share=Fraction(1)))
    bundle = open_bundle(job.bundle)
    refuse(bundle)
    scorer = Scorer.for_job(bundle, job)
    split_rows = job.split_rows or default_split_rows(bundle.model_bytes())
    plan = make_plan(discover(job.input, format=job.format), ExistingParts(), bundle.manifest, job, split_rows)
    if plan.failed:
        raise plan.failed[0]
    report = BenchReport(
        rows=0,
        cores=available_cores(),
        device=scorer.device_name,
        batch_rows=scorer.block_rows,
    )
    _whole_run(job, report, rounds)
    blocks = _stages_alone(plan, scorer, job, report, rounds)
    _forward_modes(scorer, blocks, report, rounds)
    report.train_changes = _train_against_eval(bundle, scorer, blocks[0]) if blocks else None
    return report


def refuse(bundle: Bundle, *, synthetic: bool = False) -> None:
    """Raise UsageError for unsupported bundles: inputs other than tables, generation, and expressions or
    categories on `synthetic` data."""
    if bundle.manifest.expressions and synthetic:
        raise UsageError("bench cannot make data for expressions; pass files with --input")
    categories = [one.name for one in bundle.manifest.features if one.dtype in ("text", "integer")]
    if categories and synthetic:
        raise UsageError(f"bench cannot make data for categories such as {categories[0]!r}; pass files with --input")
    other = [entry.kind for entry in bundle.manifest.inputs if not kind_of(entry).tabular]
    if other:
        raise UsageError(f"bench supports only tables, not {other[0]}s; see the times in the output of scoreline score")
    if any(task_of(head).generates for head in bundle.manifest.heads):
        raise UsageError("bench does not support generation; see the times in the output of scoreline score")


def _whole_run(job: ScoreJob, report: BenchReport, rounds: int) -> None:
    """Measure the whole run, with every check, receipt and timing."""
    steady, startup = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="scoreline-bench-") as folder:
            manifest = run(replace(job, output=f"{folder}/out"))
        report.rows = manifest.rows_in
        report.output_bytes = manifest.stages["publish"].bytes
        steady.append(manifest.wall_s - manifest.startup_s - manifest.stages["discover"].waiting_s)
        startup.append(manifest.startup_s + manifest.stages["discover"].waiting_s)
        if not manifest.rows_scored:
            raise DataError(f"{job.input}: has no rows that can be scored (rows read: {manifest.rows_in:,})")
    report.steady_s, report.startup_s = median(steady), median(startup)


def _stages_alone(plan: Plan, scorer: Scorer, job: ScoreJob, report: BenchReport, rounds: int) -> list[FeatureBatch]:
    """Measure every stage by itself, on one thread, block by block; fill in the limit. Returns the first blocks."""
    clocks: list[BenchPass] = []
    for number in range(WARM_PASSES + rounds):
        for clock in clocks:
            clock.first_blocks.clear()  # memory that is held cannot be reused, and new memory costs page faults
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
    cores = report.cores.count
    limit = limit_of(report.stages, readers=num_readers(plan.partitions, cores), cores=cores)
    report.limit_s, report.limited_by = limit.seconds, limit.limited_by
    return clocks[-1].first_blocks


def _seconds(work: Callable[[], Any]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _forward_modes(scorer: Scorer, blocks: list[FeatureBatch], report: BenchReport, rounds: int) -> None:
    """Measure the forward pass with gradients, without, and in inference mode, over the same blocks."""
    rows = sum(block.num_kept for block in blocks)
    if not rows:
        return
    device = scorer.loaded.device
    passes: list[Pass] = []
    for block in blocks:
        sent = device.send(block.inputs)
        if scorer.device.type == "cuda":
            torch.cuda.synchronize(scorer.device)  # wait for the copy
        passes += scorer.members.passes.cut(sent.tensors)
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
            call_model(model, scorer.members.arguments(one), scorer.manifest.call)
    if scorer.device.type == "cuda":
        torch.cuda.synchronize(scorer.device)


@contextmanager
def _gradients(models: Sequence[nn.Module]) -> Iterator[None]:
    """Weights that require gradients, as in a loop without `no_grad`."""
    weights = [weight for model in models for weight in model.parameters() if weight.is_floating_point()]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)


def _train_against_eval(bundle: Bundle, scorer: Scorer, block: FeatureBatch) -> TrainChanges | None:
    """Compare the first member's graph, as saved, in train and eval mode; None if it is not a graph."""
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
                head_output(call_model(each, members.arguments(one), call), head, one.num_rows)
                for each in (model, training)
            )
            pieces.append((noisy - quiet).abs().reshape(one.num_rows, -1).amax(dim=1))
    apart = torch.cat(pieces)
    return TrainChanges(rows=block.num_kept, changed=int((apart > ROUNDING).sum()), largest=float(apart.max()))
