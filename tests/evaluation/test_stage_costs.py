"""The cost of each stage, and the shortest possible time for the same work."""

from pathlib import Path

import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.evaluation.stage_costs import FEW_BLOCKS, STAGES, StageCost, limit_of, run_pass
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.planning.plan import make_plan

from conftest import Example
from scoreline import Scorer


def costs(**wall_s: float) -> list[StageCost]:
    """Stages of one CPU second each, some of which take longer."""
    return [StageCost(name=name, wall_s=wall_s.get(name.split()[0], 1.0), cpu_s=1.0) for name in STAGES]


@pytest.mark.parametrize(
    ("wall_s", "cores", "readers", "seconds", "limited_by"),
    [
        ({}, 1, 1, 5.0, "CPU time over 1 cores"),
        ({}, 2, 1, 2.5, "CPU time over 2 cores"),
        ({"read": 7.0}, 4, 2, 4.0, "reading, 2 at once"),
        ({"check": 5.0}, 4, 1, 6.0, "reading, 1 at once"),
        ({"write": 9.0}, 4, 2, 1.25, "CPU time over 4 cores"),
        ({"transfer": 99.0}, 5, 4, 1.0, "CPU time over 5 cores"),
    ],
)
def test_the_limit(wall_s: dict[str, float], cores: int, readers: int, seconds: float, limited_by: str) -> None:
    """All CPU time over all cores, or what readers need."""
    found = limit_of(costs(**wall_s), readers=readers, cores=cores)
    assert (found.seconds, found.limited_by) == (seconds, limited_by)


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize(("max_rows", "rows"), [(1 << 20, 150), (50, 64), (64, 64), (65, 96)])
def test_a_pass_ends_after_enough_rows(iris: Example, tmp_path: Path, max_rows: int, rows: int) -> None:
    """In whole blocks; every stage has a cost, and the first blocks are kept."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    job = ScoreJob(bundle=str(iris.bundle), input=str(tmp_path), output=str(tmp_path / "out"), run_id="", device="cpu")
    plan = make_plan(discover(job.input), ExistingParts(), open_bundle(job.bundle).manifest, job, 1 << 20)
    found = run_pass(plan, Scorer.load(iris.bundle, device="cpu"), job, 32, max_rows)
    assert found.rows == rows
    assert len(found.first_blocks) == min(FEW_BLOCKS, -(-rows // 32))
    assert found.output_bytes > 0
    assert min(found.wall_s.values()) > 0
    assert list(found.cpu_s) == list(STAGES)
    assert not (tmp_path / "out").exists()
