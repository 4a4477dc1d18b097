"""Lower precision: close to float64, checked by the golden rows, and independent of the other rows of a block."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from conftest import Example, Result
from scoreline import GoldenMismatchError, Regression, Scorer, save_bundle

Command = Callable[..., Result]
#: The tolerance for probabilities.
FAR = {"bf16": 0.03, "fp16": 0.005, "int8": 0.03}


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
def test_scores_are_close_and_independent_of_other_rows(iris: Example, precision: str) -> None:
    """Close to plain torch; each row alone, and in blocks of seven, has the score that it has in one block."""
    scorer = Scorer.load(iris.bundle, device="cpu", precision=precision)  # type: ignore[arg-type]
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    whole = scorer.score_table(table)
    wanted = torch.softmax(torch.from_numpy(iris.raw()), dim=1).numpy()
    got = np.stack([whole[f"probability_{label}"].to_numpy() for label in iris.labels], axis=1)
    assert 0 < np.abs(got - wanted).max() < FAR[precision]
    apart = 1e-6 if precision == "int8" else 4e-3
    for rows in (1, 7):
        scorer.block_rows = rows
        again = scorer.score_table(table)
        np.testing.assert_allclose(again["probability_0"], whole["probability_0"], atol=apart)


def test_int8_weights(tmp_path: Path) -> None:
    """Each weight is rounded to the nearest of 255 steps up to the largest of its output."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    X = np.random.default_rng(0).normal(size=(40, 4))
    save_bundle(tmp_path / "b", model, features=list("abcd"), task=Regression(["p", "q"]), sample=X)
    scorer = Scorer.load(tmp_path / "b", device="cpu", precision="int8")
    for layer in (model[0], model[2]):
        step = layer.weight.detach().abs().max(dim=1, keepdim=True).values / 127
        layer.weight.data = torch.round(layer.weight.data / step) * step
    with torch.no_grad():
        wanted = model(torch.from_numpy(X).float()).numpy()
    got = scorer.score_table(pa.table({name: X[:, index] for index, name in enumerate("abcd")}))
    np.testing.assert_allclose(np.stack([got["prediction_p"], got["prediction_q"]], axis=1), wanted, atol=1e-6)


def test_a_model_that_needs_fp32_is_refused(tmp_path: Path) -> None:
    """Before the first row, because golden rows are not reproduced."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():  # a small difference of large numbers
        model[0].weight.copy_(torch.tensor([[1000.0, 1.0], [1000.0, -1.0]]))
        model[0].bias.zero_()
        model[1].weight.copy_(torch.tensor([[1.0, -1.0]]))
        model[1].bias.zero_()
    X = np.random.default_rng(0).normal(size=(40, 2))
    save_bundle(tmp_path / "b", model, features=["a", "b"], task=Regression(), sample=X)
    Scorer.load(tmp_path / "b", device="cpu")
    with pytest.raises(GoldenMismatchError) as caught:
        Scorer.load(tmp_path / "b", device="cpu", precision="bf16")
    message = str(caught.value)
    assert message.startswith("golden rows are reproduced in fp32, within ")
    assert "but not in bf16: raw output 'output' differs by " in message
    assert message.endswith("use --precision fp32")
    assert "scaler" not in message


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
def test_a_mismatch_in_fp32_is_not_attributed_to_the_precision(precision: Any, iris: Example, tmp_path: Path) -> None:
    """The golden rows are not reproduced in fp32 either."""
    shutil.copytree(iris.bundle, tmp_path / "b")
    fields = json.loads((tmp_path / "b" / "bundle.json").read_text())
    fields["steps"][0]["mean"][2] += 1
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(fields))
    with pytest.raises(GoldenMismatchError, match="not the one that the expected outputs were computed with"):
        Scorer.load(tmp_path / "b", device="cpu", precision=precision)


def test_fp16_overflow(tmp_path: Path) -> None:
    """Sums above the range of fp16."""
    model = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.fill_(40_000.0)
    X = np.full((40, 2), 1.5)
    save_bundle(tmp_path / "b", model, features=["a", "b"], task=Regression(), sample=X)
    with pytest.raises(GoldenMismatchError, match=r"reproduced in fp32.*not in fp16.*use --precision fp32$"):
        Scorer.load(tmp_path / "b", device="cpu", precision="fp16")


def test_it_is_part_of_the_fingerprint(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Parts of different precisions are never mixed."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline(*words).code == 0
    full = pq.read_table(tmp_path / "out" / "in.parquet")
    result = scoreline(*words, "--precision", "int8")
    assert result.event("run_started")["to_score"] == {"option precision changed": 1}
    assert pq.read_table(tmp_path / "out" / "in.parquet") != full
