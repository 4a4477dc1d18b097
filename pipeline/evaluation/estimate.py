"""Estimates the time, output size and memory of a full run from its first rows."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from ..cores import available_cores
from ..model.modes import pinned
from ..options import ScoreJob
from ..planning.plan import Plan
from ..running.work import num_readers
from ..scoring.scorer import Scorer
from .stage_costs import STAGES, StageCost, limit_of, run_pass

#: Rows to score for an estimate.
ESTIMATE_ROWS = 1 << 17
#: Run time as a multiple of its limit, and seconds before the first row (docs/explanation/benchmarks.md).
ABOVE_LIMIT, START_UP_S = 1.25, 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The estimate for a full run. `memory_bytes`: the peak memory of this process so far; `rows`: the number of rows
    scored for the estimate."""

    seconds: float
    output_bytes: int
    memory_bytes: int
    rows: int


@pinned()
def estimate(plan: Plan, scorer: Scorer, job: ScoreJob) -> Estimate | None:
    """Estimate a full run from its first rows; None if the files do not record their number of rows."""
    if not plan.num_rows or not plan.partitions:
        return None
    for _ in range(2):  # the first pass includes one-time costs
        measured = run_pass(plan, scorer, job, scorer.block_rows, ESTIMATE_ROWS)
    if not measured.rows:
        return None
    scale, cores = plan.num_rows / measured.rows, available_cores().count
    costs = [
        StageCost(name=name, wall_s=measured.wall_s[name] * scale, cpu_s=measured.cpu_s[name] * scale)
        for name in STAGES
    ]
    limit = limit_of(costs, readers=num_readers(plan.partitions, cores), cores=cores)
    return Estimate(
        seconds=START_UP_S + ABOVE_LIMIT * limit.seconds,
        output_bytes=round(measured.output_bytes * scale),
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        rows=measured.rows,
    )
