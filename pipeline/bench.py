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
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import torch
from torch import nn

from ..schemas.bundle import GraphMember
from ..schemas.run import Receipt
from .cores import Cores, available_cores
from .desk import ScoredBlock
from .errors import UsageError
from .inputs.discover import discover
from .model.bundle import Bundle, open_bundle, read_graph
from .model.forward import called, select_output
from .model.graph import build
from .model.weights import read_weights
from .outputs.part_file import PartFile
from .outputs.store import Store
from .plan import Plan, PlannedPartition, default_split_rows, make_plan
from .reading import read_splits
from .records import Block, FeatureBatch, Format, ScoredBatch, ScoreJob
from .resume import Standing, fingerprint
from .run import LoadedBlock, run, score_block
from .save import save_bundle
from .scorer import RawBatch, Scorer
from .timing import StageTimes

#: Rows that the stages are measured on, one by one; the whole runs over all.
MOST_ROWS = 1 << 20
#: Blocks that the comparisons of the forward pass take.
FEW_BLOCKS = 16
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


class _Silent:
    """A watcher that tells nobody."""

    def start(self, num_rows: int | None) -> None: ...
    def advance(self, rows: int) -> None: ...
    def event(self, name: str, /, **fields: Any) -> None: ...


def bench(job: ScoreJob, *, rounds: int = 3) -> BenchReport:
    """Measure a bundle on an input. Writes to a temporary folder, which is gone afterwards.

    Args:
        job: its output is not used.
    """
    bundle = open_bundle(job.bundle)
    scorer = Scorer.load(bundle, device=job.device, trust=job.trust)
    split_rows = job.split_rows or default_split_rows(bundle.model_bytes())
    plan = make_plan(discover(job.input, format=job.format), Standing(), bundle.manifest, job, split_rows)
    if plan.failed:
        raise plan.failed[0]
    report = BenchReport(
        rows=0,
        cores=available_cores(),
        device=str(scorer.device),
        batch_rows=job.batch_rows or scorer.block_rows,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the lanes do
    try:
        _whole(job, report, rounds)
        blocks = _each_alone(plan, scorer, job, report, rounds)
        _forward_modes(scorer, blocks[:FEW_BLOCKS], report, rounds)
        report.train_changes = _train_against_eval(bundle, blocks[0]) if blocks else None
    finally:
        torch.set_num_threads(threads)
    return report


def _whole(job: ScoreJob, report: BenchReport, rounds: int) -> None:
    """The run itself, with every check, receipt and timing on."""
    steady, startup = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="scoreline-bench-") as folder:
            manifest = run(replace(job, output=f"{folder}/out"), _Silent())
        report.rows = manifest.rows_in
        report.output_bytes = manifest.stages["publish"].bytes
        steady.append(manifest.wall_s - manifest.startup_s - manifest.stages["discover"].waiting_s)
        startup.append(manifest.startup_s + manifest.stages["discover"].waiting_s)
    report.steady_s, report.startup_s = median(steady), median(startup)


def _each_alone(plan: Plan, scorer: Scorer, job: ScoreJob, report: BenchReport, rounds: int) -> list[FeatureBatch]:
    """Every stage over the same rows, one after the other; fills in the limit."""
    costs: dict[str, list[StageCost]] = {}
    blocks: list[FeatureBatch] = []
    for _ in range(rounds):
        read = _read(plan, report.batch_rows)
        rows = max(1, sum(block.batch.num_rows for _, block in read[0]))
        scale = report.rows / rows
        loaded = _timed(partial(_load_all, read[0], scorer))
        scored = _timed(partial(_score_all, loaded[0], scorer, job))
        forward = _timed(partial(_forward_all, loaded[0], scorer))
        written = _timed(partial(_write, [(block.planned, block.block) for block in scored[0]]))
        blocks = [block.features for block in loaded[0]]
        for name, (_, wall_s, cpu_s) in {
            "read": read,
            "check + scale": loaded,
            "transfer + forward": forward,
            "transfer + forward + decode": scored,
            "write + publish": written,
        }.items():
            costs.setdefault(name, []).append(StageCost(name=name, wall_s=wall_s * scale, cpu_s=cpu_s * scale))
    medians = {
        name: StageCost(name=name, wall_s=median(c.wall_s for c in each), cpu_s=median(c.cpu_s for c in each))
        for name, each in costs.items()
    }
    whole, part = medians.pop("transfer + forward + decode"), medians["transfer + forward"]
    medians["decode"] = StageCost(
        name="decode", wall_s=max(0.0, whole.wall_s - part.wall_s), cpu_s=max(0.0, whole.cpu_s - part.cpu_s)
    )
    order = ("read", "check + scale", "transfer + forward", "decode", "write + publish")
    report.stages = [medians[name] for name in order]
    _fill_limit(report, medians)
    return blocks


def _fill_limit(report: BenchReport, costs: dict[str, StageCost]) -> None:
    cores = report.cores.count
    limits = {
        f"CPU time over {cores} cores": sum(cost.cpu_s for cost in costs.values()) / cores,
        "reading, one thread a file": costs["read"].wall_s + costs["check + scale"].wall_s,
        "writing, one thread": costs["write + publish"].wall_s,
    }
    report.limited_by = max(limits, key=lambda name: limits[name])
    report.limit_s = limits[report.limited_by]


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What work gives, its seconds on the clock and of the CPU."""
    start, cpu = perf_counter(), process_time()
    result = work()
    return result, perf_counter() - start, process_time() - cpu


def _read(plan: Plan, rows: int) -> tuple[list[tuple[PlannedPartition, Block]], float, float]:
    """The first blocks of the input, and what they cost to read."""

    def read() -> list[tuple[PlannedPartition, Block]]:
        found: list[tuple[PlannedPartition, Block]] = []
        held = 0
        for planned in plan.partitions:
            with closing(read_splits(planned, rows)) as pieces:
                for piece in pieces:
                    if isinstance(piece, Block):
                        found.append((planned, piece))
                        held += piece.batch.num_rows
                    if held >= MOST_ROWS:
                        return found
        return found

    return _timed(read)


def _load_all(read: list[tuple[PlannedPartition, Block]], scorer: Scorer) -> list[LoadedBlock]:
    return [_loaded(planned, block, scorer) for planned, block in read]


def _score_all(loaded: list[LoadedBlock], scorer: Scorer, job: ScoreJob) -> list[ScoredBlock]:
    return [score_block(block, scorer, job.columns) for block in loaded]


def _forward_all(loaded: list[LoadedBlock], scorer: Scorer) -> list[RawBatch]:
    return [scorer.forward(scorer.transfer(block.features)) for block in loaded]


def _loaded(planned: PlannedPartition, block: Block, scorer: Scorer) -> LoadedBlock:
    checked = scorer.check(block.batch, text=planned.text, dialect=planned.dialect, unreadable=block.unreadable)
    return LoadedBlock(
        planned=planned,
        split=block.split,
        first_row=block.first_row,
        features=scorer.scale(checked),
        times=StageTimes(),
    )


def _write(blocks: list[tuple[PlannedPartition, ScoredBatch]]) -> None:
    """Encode and publish: one part for each input."""
    with tempfile.TemporaryDirectory(prefix="scoreline-bench-") as folder:
        store = Store(folder)
        for planned, each in groupby(blocks, key=lambda pair: pair[0]):
            part = PartFile(store, name="part.parquet", schema=planned.schema, read=planned.read_with_hive)
            for _, block in each:
                part.write(block.rows, block.rejects)
            part.publish("part.parquet", _receipt(planned, part))


def _receipt(planned: PlannedPartition, part: PartFile) -> Receipt:
    rows = part.num_rows + part.num_rejects
    mark = fingerprint(planned.partition, 0, "sha256:" + "0" * 64, ScoreJob(bundle="", input="", output="", run_id=""))
    return Receipt(
        fingerprint=mark,
        split=0,
        last=True,
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
    call = scorer.manifest.call
    inputs = [scorer.transfer(block).inputs for block in blocks]
    for mode, context in (
        ("gradients recorded", _gradients),
        ("no_grad", lambda _: torch.no_grad()),
        ("inference_mode", lambda _: torch.inference_mode()),
    ):
        seconds = []
        for _ in range(rounds):
            with context(scorer.models):
                seconds.append(
                    _timed(lambda: [called(model, each, call) for model in scorer.models for each in inputs])[1]
                )
        report.forward_rows_per_s[mode] = rows / max(median(seconds), 1e-9)


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


def _train_against_eval(bundle: Bundle, block: FeatureBatch) -> TrainChanges | None:
    """The first member's graph as it was saved, in both modes; None where it is no graph."""
    member = bundle.manifest.members[0]
    if not isinstance(member, GraphMember) or not block.num_kept:
        return None
    graph = read_graph(bundle.read(member.graph), member.graph)
    model = build(graph, read_weights(bundle.read(member.weights), member.weights))
    head, call = bundle.manifest.heads[0], bundle.manifest.call
    with torch.no_grad():
        quiet = select_output(called(model, block.inputs, call), head.output)
        torch.manual_seed(0)
        training = copy.deepcopy(model).train()
        noisy = select_output(called(training, block.inputs, call), head.output)
    apart = (noisy - quiet).abs().reshape(block.num_kept, -1).amax(dim=1)
    return TrainChanges(rows=block.num_kept, changed=int((apart > LIKE_ROUNDING).sum()), largest=float(apart.max()))


def make_bundle(folder: Path, features: int) -> Path:
    """A classifier of the size that our figures are quoted for: Linear-ReLU-BatchNorm 128-64-5 behind a scaler."""
    try:
        from sklearn.preprocessing import StandardScaler  # an extra: scoring needs none of it
    except ImportError as error:
        raise UsageError(
            "a made model needs scikit-learn: pip install 'scoreline[demo]', or name a --bundle of yours"
        ) from error
    draw = np.random.default_rng(0)
    torch.manual_seed(0)
    sample = draw.normal(size=(256, features))
    layers: list[nn.Module] = []
    for wide, narrow in ((features, 128), (128, 64)):
        norm = nn.BatchNorm1d(narrow)
        norm.running_mean, norm.running_var = torch.randn(narrow), torch.rand(narrow) + 0.5
        layers += [nn.Linear(wide, narrow), nn.ReLU(), norm]
    names = [f"f{number}" for number in range(features)]
    save_bundle(
        folder / "bundle",
        nn.Sequential(*layers, nn.Linear(64, 5)),
        features=names,
        scaler=StandardScaler().fit(sample),
        task="multiclass",
        labels=list("abcde"),
        sample=pa.table({name: sample[:, place] for place, name in enumerate(names)}),
    )
    return folder / "bundle"


def make_data(folder: Path, features: Sequence[str], *, rows: int, files: int, format: Format) -> Path:  # noqa: A002
    """Files of normal float64 features and a key, `rows` in all."""
    place = folder / "data"
    place.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(1)
    if not 1 <= files <= rows:
        raise UsageError(f"{rows} rows in {files} files: there must be a row for every file")
    for number in range(files):
        count = rows * (number + 1) // files - rows * number // files
        columns = {name: pa.array(draw.normal(size=count)) for name in features}
        table = pa.table({"row_id": pa.array(np.arange(count) + number * rows), **columns})
        if format == "csv":
            pacsv.write_csv(table, place / f"{number:05d}.csv")
        else:
            pq.write_table(table, place / f"{number:05d}.parquet")
    return place
