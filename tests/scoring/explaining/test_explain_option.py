"""`--explain` through the commands: resumes, rejects, refusals, job files."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from conftest import Example, Result
from explained import METHODS, explained
from scoreline import Regression, save_bundle

pytestmark = pytest.mark.usefixtures("one_core")


def write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)


@pytest.mark.parametrize("method", ["shapley", "lime"])
def test_a_resume_explains_the_same_rows_and_gives_the_same_bytes(
    scoreline: Any, diabetes: Example, tmp_path: Path, method: str
) -> None:
    """A removed part is written again; with another block size the same rows are explained, with equal values."""
    frame = diabetes.frame
    write(frame.head(200), tmp_path / "in" / "a.parquet")
    write(frame.tail(200), tmp_path / "in" / "b.parquet")
    words = ["--bundle", diabetes.bundle, "--input", tmp_path / "in", "--explain", method, "--explain-rows", "5%"]
    assert scoreline("score", *words, "--output", tmp_path / "out").code == 0
    first = {name: (tmp_path / "out" / name).read_bytes() for name in ("a.parquet", "b.parquet")}
    (tmp_path / "out" / "a.parquet").unlink()
    again: Result = scoreline("score", *words, "--output", tmp_path / "out")
    assert again.code == 0
    assert again.event("run_started")["kept"] == 1
    assert {name: (tmp_path / "out" / name).read_bytes() for name in first} == first
    assert scoreline("verify", tmp_path / "out").code == 0
    alone = [*words[:3], tmp_path / "in" / "a.parquet", *words[4:]]
    other: Result = scoreline("score", *alone, "--output", tmp_path / "other", "--batch-size", "20")
    assert other.code == 0
    one, two = (pq.read_table(tmp_path / name / "a.parquet").to_pandas() for name in ("out", "other"))
    names = [column for column in one.columns if column.startswith("attribution_")]
    assert 2 < one["attribution_bmi"].notna().sum() < 20
    np.testing.assert_allclose(one[names], two[names], rtol=1e-4, atol=1e-4)
    changed: Result = scoreline("score", *words[:-1], "1%", "--output", tmp_path / "out")
    assert changed.event("run_started")["to_score"] == {"option explain changed": 2}


def test_stages_manifest_and_importance(scoreline: Any, cancer: Example, tmp_path: Path) -> None:
    """Its own stage, the gap in the log, and the most important features as a table, JSON and a picture."""
    write(cancer.frame, tmp_path / "in.parquet")
    words = ["--bundle", cancer.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    done: Result = scoreline("score", *words, "--explain", "shapley", "--explain-rows", "25%", "--prefix", "p_")
    assert done.code == 0
    manifest = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    rows = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
    known = rows["p_attribution_gap"].notna()
    assert manifest["stages"]["explain"]["rows"] == known.sum() == done.event("rows_explained")["rows"]
    assert manifest["options"]["explain"] == "shapley 1/4 of rows"
    assert done.event("rows_explained")["largest_gap"] == pytest.approx(rows["p_attribution_gap"].abs().max(), rel=1e-6)
    report: Result = scoreline("importance", tmp_path / "out", "--json", "--picture", tmp_path / "t.svg")
    found = json.loads(report.out)
    means = rows[[f"p_attribution_{name}" for name in cancer.features]].abs().mean().sort_values(ascending=False)
    assert [one["feature"] for one in found["features"]] == [n.removeprefix("p_attribution_") for n in means.index]
    np.testing.assert_allclose([one["mean_absolute"] for one in found["features"]], means, rtol=1e-6)
    assert found["rows"] == known.sum()
    assert found["features"][0]["feature"] in (tmp_path / "t.svg").read_text()
    assert scoreline("importance", tmp_path / "out", "--top", "3").out.count("\n") == 7


def test_attributions_stay_with_their_rows_if_others_are_rejected(
    scoreline: Any, diabetes: Example, tmp_path: Path
) -> None:
    """Rejected rows do not shift the attributions of other rows."""
    frame = diabetes.frame.head(50).copy()
    whole = explained(diabetes.bundle, frame, "occlusion")
    frame.loc[[3, 17], "bmi"] = np.nan
    write(frame, tmp_path / "in.parquet")
    words = ["--bundle", diabetes.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words, "--explain", "occlusion", "--max-rejects", "2").code == 0
    rows = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
    names = [f"attribution_{name}" for name in diabetes.features]
    np.testing.assert_allclose(rows[names], whole.drop([3, 17])[names], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--explain-rows", "5%"], "--explain-rows and --explain-target need --explain"),
        (["--explain", "shapley", "--explain-rows", "0%"], "neither all nor a percentage"),
        (["--explain", "shapley", "--explain-rows", "120%"], "neither all nor a percentage"),
        (["--explain", "shapley", "--explain-target", "cat"], "use one of '0', '1'"),
        (["--explain", "magic"], "integrated-gradients"),
    ],
)
def test_refusals_before_the_first_row(
    scoreline: Any, cancer: Example, tmp_path: Path, words: list[str], message: str
) -> None:
    """One line, exit code 2, and no output."""
    write(cancer.frame, tmp_path / "in.parquet")
    done: Result = scoreline(
        "score", "--bundle", cancer.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out", *words
    )
    assert done.code == 2
    assert message in done.err
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_missing_captum_names_the_install_command(
    scoreline: Any, diabetes: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails before the first row."""
    write(diabetes.frame, tmp_path / "in.parquet")
    monkeypatch.setitem(sys.modules, "captum", None)
    done: Result = scoreline(
        "score", "--bundle", diabetes.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out",
        "--explain", "lime",
    )  # fmt: skip
    assert done.code == 2
    assert "pip install 'scoreline[explain]'" in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


class _Logarithm(nn.Module):
    """Finite for every row of the data, but not for most rows between them."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.log(x[:, :1] * x[:, 1:]))


@pytest.mark.parametrize("method", METHODS[1:])
def test_rows_without_a_finite_path_are_not_explained(scoreline: Any, tmp_path: Path, method: str) -> None:
    """They are null, counted, and excluded from the means; the other rows are explained."""
    frame = pd.DataFrame({"a": [1.0] * 61 + [-2.0] * 59, "b": [3.0] * 61 + [-1.0] * 59})
    save_bundle(tmp_path / "b", _Logarithm(), features=["a", "b"], task=Regression(), sample=frame)
    write(frame.iloc[51:71].reset_index(drop=True), tmp_path / "in.parquet")  # ten of each kind
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    done: Result = scoreline("score", *words, "--explain", method)
    assert done.code == 0, done.err
    rows = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
    lost = rows["attribution_a"].isna()
    assert 8 < lost.sum() < 12
    assert done.event("rows_not_explained")["rows"] == lost.sum()
    assert np.isfinite(rows.loc[~lost, ["attribution_a", "attribution_b"]]).all().all()
    report = json.loads(scoreline("importance", tmp_path / "out", "--json").out)
    assert report["rows"] == (~lost).sum()


def test_keys_are_not_attributions(scoreline: Any, diabetes: Example, tmp_path: Path) -> None:
    """If an output with attributions is scored again, the old ones are keys, of any type, and are ignored."""
    frame = diabetes.frame.head(30).assign(attribution_old=80.0, attribution_text="x")
    write(frame, tmp_path / "in.parquet")
    words = ["--bundle", diabetes.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words, "--explain", "occlusion").code == 0
    report = json.loads(scoreline("importance", tmp_path / "out", "--json").out)
    assert {one["feature"] for one in report["features"]} == set(diabetes.features)
    assert report["largest_gap"] is None


def test_a_job_file_can_set_the_explain_options(scoreline: Any, cancer: Example, tmp_path: Path) -> None:
    """All three options, with a numeric label as a number; check accepts the same file."""
    write(cancer.frame.head(40), tmp_path / "in.parquet")
    (tmp_path / "job.toml").write_text(
        f'bundle = "{cancer.bundle}"\ninput = "in.parquet"\noutput = "out"\n'
        'explain = "occlusion"\nexplain_rows = "50%"\nexplain_target = 0\n'
    )
    assert scoreline("score", "--job", tmp_path / "job.toml").code == 0
    rows = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
    known = rows[f"attribution_{cancer.features[0]}"].notna()
    assert 5 < known.sum() < 35
    wanted = explained(cancer.bundle, cancer.frame.head(40), "occlusion", target="0")
    names = [f"attribution_{name}" for name in cancer.features]
    np.testing.assert_allclose(rows.loc[known, names], wanted.loc[known, names], atol=1e-6)
    assert scoreline("check", "--job", tmp_path / "job.toml").code == 0
