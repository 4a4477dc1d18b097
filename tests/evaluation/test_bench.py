"""Measuring a bundle: what is refused, and how train mode would change its outputs."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.cores import Cores
from scoreline.pipeline.errors import PartitionError, UsageError
from scoreline.pipeline.evaluation.bench import BenchReport, bench, refuse
from scoreline.pipeline.options import ScoreJob
from torch import Tensor, nn

from conftest import Example
from scoreline import Generation, Regression, Table, save_bundle

BUNDLES = Path(__file__).parents[1] / "bundles" / "format1"
FRAME = pd.DataFrame({"a": [0.5, -1.0, 2.0] * 20, "b": [1.0, 0.0, -0.25] * 20})


class Says(nn.Module):
    """Scores of the next token, from a table and the tokens so far."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.word, self.end = nn.Linear(2, 8), nn.Embedding(3, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, generated: Tensor) -> Tensor:
        found: Tensor = self.end(self.begin(x).unsqueeze(1) + self.word(generated))
        return found


@pytest.mark.parametrize(("name", "kind"), [("sequence", "sequences"), ("image", "images")])
def test_other_inputs_are_refused(name: str, kind: str) -> None:
    """With another place to find times."""
    with pytest.raises(UsageError) as raised:
        refuse(open_bundle(BUNDLES / name / "bundle"))
    assert (
        str(raised.value) == f"bench supports only tables, not {kind}; see the times in the output of scoreline score"
    )


def test_categories_need_data(tmp_path: Path, iris: Example) -> None:
    """Random numbers are none of the words."""
    words = Table(["a", "b"], vocabularies={"b": ["x", "y"]})
    sample = pd.DataFrame({"a": [0.5, 1.0] * 4, "b": list("xyyx") * 2})
    save_bundle(tmp_path / "b", nn.Linear(2, 1), inputs=words, task=Regression(), sample=sample)
    bundle = open_bundle(tmp_path / "b")
    refuse(bundle)
    with pytest.raises(UsageError, match="bench cannot make data for categories such as 'b'; pass files with --input"):
        refuse(bundle, synthetic=True)


def test_generation_is_refused(tmp_path: Path) -> None:
    """Also from a table."""
    torch.manual_seed(0)
    task = Generation(["<s>", "</s>", "a"], start="<s>", end="</s>", steps=3)
    save_bundle(tmp_path / "b", Says().eval(), inputs={"x": Table(["a", "b"])}, task=task, sample=FRAME)
    with pytest.raises(UsageError, match="bench does not support generation"):
        refuse(open_bundle(tmp_path / "b"))


def job(bundle: Path, where: Path) -> ScoreJob:
    return ScoreJob(bundle=str(bundle), input=str(where), output="", run_id="", device="cpu", batch_rows=32)


@pytest.mark.usefixtures("one_core")
def test_train_mode_is_compared_on_the_first_block(tmp_path: Path) -> None:
    """Dropout of every value changes all rows that have an output; the report has the rows of the input."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.999999)).eval()
    save_bundle(tmp_path / "b", model, features=["a", "b"], task=Regression(), sample=FRAME)
    FRAME.to_parquet(tmp_path / "in.parquet", index=False)
    found = bench(job(tmp_path / "b", tmp_path / "in.parquet"), rounds=1)
    assert (found.rows, found.batch_rows, found.device) == (60, 32, "cpu")
    assert found.train_changes is not None
    with torch.no_grad():
        wanted = model(torch.tensor(FRAME.to_numpy()[:32], dtype=torch.float32)).abs().max()
    assert (found.train_changes.rows, found.train_changes.changed) == (32, 32)
    assert found.train_changes.largest == pytest.approx(float(wanted), rel=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "in.parquet"]


def test_a_file_that_cannot_be_read(iris: Example, tmp_path: Path) -> None:
    """Is an error, not a smaller input."""
    iris.frame.to_parquet(tmp_path / "a.parquet", index=False)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(PartitionError, match=r"b\.parquet"):
        bench(job(iris.bundle, tmp_path), rounds=1)


def test_the_ratio() -> None:
    """Of the steady time to its limit."""
    report = BenchReport(rows=1, cores=Cores(count=1, limited_by=""), device="cpu", batch_rows=1)
    report.steady_s, report.limit_s = 3.0, 2.0
    assert report.ratio == 1.5
