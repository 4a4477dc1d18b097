"""The estimate for a full run, from its first rows."""

from pathlib import Path

import pandas as pd
import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.evaluation.estimate import START_UP_S, Estimate, estimate
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.planning.plan import make_plan
from scoreline.pipeline.running.run import run

from conftest import Example
from scoreline import Scorer


def estimated(iris: Example, folder: Path) -> Estimate | None:
    """The estimate for the files of a folder."""
    job = ScoreJob(bundle=str(iris.bundle), input=str(folder), output=f"{folder}-out", run_id="", device="cpu")
    plan = make_plan(discover(job.input), ExistingParts(), open_bundle(job.bundle).manifest, job, 1 << 20)
    return estimate(plan, Scorer.for_job(open_bundle(job.bundle), job), job)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.mark.usefixtures("one_core")
def test_an_input_that_is_read_completely(iris: Example, folder: Path) -> None:
    """Has the output size of the run; time and memory are positive."""
    frames = [pd.concat([iris.frame] * 20), iris.frame]
    for n, frame in enumerate(frames):
        frame.to_parquet(folder / f"{n}.parquet", index=False)
    found = estimated(iris, folder)
    assert found is not None
    assert found.rows == 3150
    assert found.seconds > START_UP_S
    assert found.memory_bytes > 1 << 20
    run(ScoreJob(bundle=str(iris.bundle), input=str(folder), output=f"{folder}-out", run_id="one", device="cpu"))
    written = sum(path.stat().st_size for path in Path(f"{folder}-out").glob("*.parquet"))
    assert found.output_bytes == pytest.approx(written, rel=0.03)


def test_unknown_or_no_rows(iris: Example, folder: Path) -> None:
    """Have no estimate: a CSV does not record its number of rows."""
    iris.frame.head(0).to_parquet(folder / "a.parquet", index=False)
    assert estimated(iris, folder) is None
    iris.frame.to_csv(folder / "a.csv", index=False)
    (folder / "a.parquet").unlink()
    assert estimated(iris, folder) is None
