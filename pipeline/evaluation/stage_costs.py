"""Measures the cost of each stage by itself: read to publish on one thread, block by block."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time, thread_time

from ...schemas.run import Receipt
from ..model.first_rows import FirstRows
from ..monitoring.count import ProfileBuilder
from ..monitoring.profile import encode_profile
from ..options import ScoreJob
from ..outputs.part_file import PartFile
from ..outputs.stores import open_store
from ..planning.fingerprint import Fingerprints
from ..planning.plan import Plan, PlannedPartition
from ..planning.splits import read_splits
from ..records import FeatureBatch, ReadBlock
from ..running.blocks import origin_of
from ..scoring.block import Block
from ..scoring.line import Line, LineOptions, compose
from ..scoring.scorer import Scorer
from ..timing import StageTime, StageTimes

#: The largest number of rows to measure the stages on; the whole run scores all rows.
MAX_ROWS = 1 << 20
#: Blocks to keep for comparisons of the forward pass.
FEW_BLOCKS = 4
STAGES = ("read", "check + scale", "transfer + forward", "decode", "write + publish")


@dataclass(kw_only=True, slots=True)
class StageCost:
    """The cost of one stage for all rows of the input: wall-clock seconds, and CPU seconds of all threads."""

    name: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """The shortest possible time for the same work in any arrangement, and what limits it."""

    seconds: float
    limited_by: str


def limit_of(costs: Iterable[StageCost], *, readers: int, cores: int) -> Limit:
    """`max(Σ CPU seconds ÷ cores, reading ÷ readers)`."""
    stages = {cost.name: cost for cost in costs}
    limits = {
        f"CPU time over {cores} cores": sum(cost.cpu_s for cost in stages.values()) / cores,
        f"reading, {readers} at once": (stages["read"].wall_s + stages["check + scale"].wall_s) / readers,
    }
    slowest = max(limits, key=lambda name: limits[name])
    return Limit(seconds=limits[slowest], limited_by=slowest)


class _Clocks(StageTimes):
    """The clocks of one pass: wall-clock seconds, and CPU seconds of this thread, by bench stage."""

    def __init__(self, groups: Mapping[str, str]) -> None:
        super().__init__()
        self._groups = groups
        self.wall_s, self.cpu_s = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageTime]:
        """Measure one stage. `run_pass` adds the CPU time of the reader's other threads."""
        wall, cpu = perf_counter(), thread_time()
        with super().stage(name) as spent:
            yield spent
        group = self._groups[name]
        self.wall_s[group] += perf_counter() - wall
        self.cpu_s[group] += thread_time() - cpu


@dataclass(kw_only=True, slots=True)
class BenchPass:
    """One pass over the first rows of an input."""

    clocks: _Clocks
    max_rows: int = MAX_ROWS
    rows: int = 0
    output_bytes: int = 0
    first_blocks: list[FeatureBatch] = field(default_factory=list)

    @property
    def wall_s(self) -> dict[str, float]:
        """Wall-clock seconds by bench stage."""
        return self.clocks.wall_s

    @property
    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by bench stage."""
        return self.clocks.cpu_s


def run_pass(plan: Plan, scorer: Scorer, job: ScoreJob, block_rows: int, max_rows: int = MAX_ROWS) -> BenchPass:
    """read → … → publish over at most `max_rows` rows, in this thread."""
    options, started = LineOptions.of(job), process_time()
    one = BenchPass(clocks=_Clocks(_groups(compose(scorer.loaded, options))), max_rows=max_rows)
    layout = scorer.loaded.layout
    with tempfile.TemporaryDirectory(prefix="scoreline-bench-") as folder:
        store = open_store(folder)
        for planned in plan.partitions:
            line = compose(scorer.loaded, options)
            part = PartFile(
                store, name="part.parquet", schema=planned.columns.schema, read=planned.columns.read_with_hive
            )
            profile = None if layout is None else ProfileBuilder(layout)
            for block in _blocks(planned, block_rows, one):
                loaded = line.load(block)
                if len(one.first_blocks) < FEW_BLOCKS:
                    one.first_blocks.append(loaded.need_features())
                done = line.score(loaded)
                scored = done.need_scored()
                with one.clocks.stage("write"):
                    part.write(scored.rows, scored.rejects)
                    if profile is not None and done.sample is not None:
                        profile.add(done.sample)
            with one.clocks.stage("publish"):
                encoded = None if profile is None or layout is None else encode_profile(profile.build(), layout)
                part.finish(_receipt(planned, part), encoded)
                one.output_bytes += part.publish("part.parquet").num_bytes
            if one.rows >= max_rows:
                break
    others = sum(seconds for name, seconds in one.cpu_s.items() if name != "read")
    one.cpu_s["read"] = max(0.0, process_time() - started - others)
    return one


def _groups(line: Line) -> dict[str, str]:
    """The bench stage of each stage of the line."""
    groups = {"read": "read", "write": "write + publish", "publish": "write + publish"}
    groups |= dict.fromkeys((name for name in line.load_names if name != "read"), "check + scale")
    groups |= dict.fromkeys(line.score_names, "decode")
    return groups | dict.fromkeys(("transfer", "forward"), "transfer + forward")


def _blocks(planned: PlannedPartition, block_rows: int, one: BenchPass) -> Iterator[Block]:
    origin = origin_of(planned, FirstRows())
    with closing(read_splits(planned, block_rows)) as pieces:
        while one.rows < one.max_rows:
            with one.clocks.stage("read"):
                piece = next(pieces, None)
            if piece is None:
                return
            if isinstance(piece, ReadBlock):
                one.rows += piece.batch.num_rows
                yield Block.of(piece, origin, one.clocks)


def _receipt(planned: PlannedPartition, part: PartFile) -> Receipt:
    rows = part.num_rows + part.num_rejects
    fingerprints = Fingerprints("sha256:" + "0" * 64, ScoreJob(bundle="", input="", output="", run_id=""))
    return Receipt(
        fingerprint=fingerprints.of(planned.partition, 0),
        root="",
        split=0,
        last=True,
        num_keys=planned.columns.num_keys,
        rows_in=rows,
        rows_scored=part.num_rows,
        rows_rejected=part.num_rejects,
        rejects=None,
        made_with={},
    )
