"""What a full run would take, estimated from its first rows."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from ..cores import available_cores
from ..model.modes import pinned
from ..options import ScoreJob
from ..planning.plan import Plan
from ..running.run import num_readers
from ..scoring.scorer import Scorer
from .bench import ABOVE_LIMIT, ESTIMATE_ROWS, STAGES, START_UP_S, BenchReport, StageCost, fill_limit, run_pass


@pinned()
def estimate(plan: Plan, scorer: Scorer, job: ScoreJob) -> Estimate | None:
    """What the full run would take, from its first rows; None where the files do not say how many they have."""
    if not plan.num_rows or not plan.partitions:
        return None
    cores = available_cores()
    report = BenchReport(
        rows=plan.num_rows,
        cores=cores,
        device=str(scorer.device),
        batch_rows=scorer.block_rows,
    )
    for _ in range(2):  # the first pass pays for what is done once
        clock = run_pass(plan, scorer, job, report.batch_rows, ESTIMATE_ROWS)
    if not clock.rows:
        return None
    scale = plan.num_rows / clock.rows
    costs = {
        name: StageCost(name=name, wall_s=clock.wall_s[name] * scale, cpu_s=clock.cpu_s[name] * scale)
        for name in STAGES
    }
    fill_limit(report, costs, num_readers(plan, cores.count))
    return Estimate(
        seconds=START_UP_S + ABOVE_LIMIT * report.limit_s,
        output_bytes=round(clock.output_bytes * scale),
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        rows=clock.rows,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Of a full run. `memory_bytes`: the most this process has held so far, which has done all that a run does; `rows`:
    how many were scored to find out."""

    seconds: float
    output_bytes: int
    memory_bytes: int
    rows: int
