"""Every task, from a saved bundle through the command to Parquet, compared with torch and scikit-learn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.options import ColumnOptions
from torch import Tensor, nn

from conftest import Result
from described import save_described
from scoreline import Ensemble, Multiclass, Multilabel, Regression, Scorer, save_bundle
from task_models import NAMES, X, net, raw, sigmoid, softmax

Command = Callable[..., Result]


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True], [-0.5, 2.5]])
def test_binary_with_a_threshold(scored: Callable[..., pd.DataFrame], labels: list[Any]) -> None:
    """First of the bundle, then of the job; labels have any type."""
    model = net(1)
    probability = sigmoid(raw(model)[:, 0])
    got = scored(model, task="binary", labels=labels, threshold=0.7)
    np.testing.assert_allclose(got["probability"], probability, atol=1e-6)
    assert got["prediction"].tolist() == [labels[int(p > 0.7)] for p in probability]
    again = scored(model, "--threshold", "0.2")
    assert again["prediction"].tolist() == [labels[int(p > 0.2)] for p in probability]
    assert (again["prediction"] != got["prediction"]).sum() > 0
    named = scored(model, "--threshold", f"{labels[1]}=0.2")  # the label that it is for
    assert named["prediction"].tolist() == again["prediction"].tolist()


def test_multilabel(scored: Callable[..., pd.DataFrame]) -> None:
    """A sigmoid and a threshold per label; the job overrides one of them, or all."""
    model = net(3)
    wanted = sigmoid(raw(model))
    got = scored(model, task="multilabel", labels=["x", "y", "z"], threshold={"y": 0.7})
    assert list(got.columns) == ["id", *(f"{c}_{label}" for c in ("prediction", "probability") for label in "xyz")]
    np.testing.assert_allclose(got[[f"probability_{label}" for label in "xyz"]], wanted, atol=1e-6)
    predictions = [f"prediction_{label}" for label in "xyz"]
    np.testing.assert_array_equal(got[predictions], wanted > [0.5, 0.7, 0.5])
    again = scored(model, "--threshold", "0.4", "--threshold", "z=0.6", "--probabilities", "list")
    np.testing.assert_array_equal(again[predictions], wanted > [0.4, 0.4, 0.6])
    np.testing.assert_allclose(np.stack(list(again["probabilities"])), wanted, atol=1e-6)


@pytest.mark.parametrize("classes", [5, 40])
def test_top_k(scored: Callable[..., pd.DataFrame], classes: int) -> None:
    """The most likely labels in order with their probabilities, for few labels and many."""
    model = net(classes)
    labels = [f"l{n}" for n in range(classes)]
    outputs = raw(model)
    got = scored(model, "--top-k", "3", "--probabilities", "none", task="multiclass", labels=labels)
    assert list(got.columns) == ["id", "prediction", *(f"top_{k}{s}" for k in (1, 2, 3) for s in ("", "_probability"))]
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :3]
    probabilities = np.take_along_axis(softmax(outputs), order, axis=1)
    for rank in range(3):
        assert got[f"top_{rank + 1}"].tolist() == [labels[index] for index in order[:, rank]]
        np.testing.assert_allclose(got[f"top_{rank + 1}_probability"], probabilities[:, rank], atol=1e-6)
    assert (got["prediction"] == got["top_1"]).all()


class Ties(nn.Module):
    """The inputs as logits, some of them minus infinity, like masked classes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, -torch.inf)


def test_top_k_of_ties_and_masked_labels(tmp_path: Path) -> None:
    """No label appears twice; of equal ones, the lowest is first."""
    save_bundle(tmp_path / "b", Ties(), features=NAMES, task=Multiclass(NAMES), sample=X.abs() + 0.1)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    rows = pd.DataFrame([[1, 0, 2, 0, 0, 2], [0, 0, 0, 1, 0, 0]], columns=NAMES, dtype=float)
    import pyarrow as pa

    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    (block,) = scorer.score_batches([batch], options=ColumnOptions(top_k=6))
    got = block.rows.to_pandas()[[f"top_{k}" for k in range(1, 7)]].to_numpy()
    assert got.tolist() == [list("cfabde"), list("dabcef")]


class Improper(nn.Module):
    """Probabilities that are invalid if the first input is large."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x[:, :3], dim=1) * torch.where(x[:, :1] > 5, 2.0, 1.0)


def test_invalid_probabilities(tmp_path: Path) -> None:
    """Above 1 or not summing to 1: rejected if the bundle says so."""
    save_bundle(
        tmp_path / "b",
        Improper(),
        features=NAMES,
        task=Multiclass(list("xyz"), outputs="probabilities", bounds=True, out_of_bounds="reject"),
        sample=X,
    )
    rows = X.assign(a=np.where(np.arange(300) % 50 == 7, 9.0, X["a"]))
    scored, rejects = Scorer.load(tmp_path / "b", device="cpu").score_table(
        pa.Table.from_pandas(rows), with_rejects=True
    )
    assert scored.num_rows == 294
    assert [r["row_number"] for r in rejects["reject"].to_pylist()] == list(range(7, 300, 50))
    assert "out of bounds" in rejects["reject"].to_pylist()[0]["reason"]


@pytest.mark.parametrize(
    ("described", "words", "says"),
    [
        ({"task": "multiclass", "labels": list("xyz")}, ["--top-k", "4"], "for 3 labels; use 1 to 3"),
        (
            {"task": "multiclass", "labels": list("xyz")},
            ["--threshold", "0.4"],
            "for binary, multilabel, and a reg",
        ),
        ({"task": "regression", "labels": list("xyz")}, ["--threshold", "0.4"], "the bundle's task is regression"),
        ({"task": "multilabel", "labels": list("xyz")}, ["--top-k", "1"], "the bundle's task is multilabel"),
        ({"task": "multilabel", "labels": list("xyz")}, ["--threshold", "w=0.4"], "use one of x, y, z"),
        ({"task": "multilabel", "labels": list("xyz")}, ["--threshold", "1.4"], "is not a probability"),
    ],
)
def test_wrong_combinations_are_refused(
    tmp_path: Path, scoreline: Command, described: dict[str, Any], words: list[str], says: str
) -> None:
    """Before the first row; the message says what is possible."""
    save_described(tmp_path / "b", net(3), features=NAMES, sample=X, **described)
    X.to_parquet(tmp_path / "in.parquet", index=False)
    result = scoreline(
        "score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out", *words
    )
    assert result.code == 2
    assert says in result.message
    assert not (tmp_path / "out").exists()


def test_a_job_file_has_the_same_fingerprint(tmp_path: Path, scoreline: Command) -> None:
    """Thresholds in a job file and on the command line are the same work."""
    save_bundle(tmp_path / "b", net(3), features=NAMES, task=Multilabel(list("xyz")), sample=X)
    X.to_parquet(tmp_path / "in.parquet", index=False)
    (tmp_path / "job.toml").write_text(
        'bundle = "b"\ninput = "in.parquet"\noutput = "out"\nthreshold = [0.4, "x=0.9"]\n'
    )
    assert scoreline("score", "--job", tmp_path / "job.toml").code == 0
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    again = scoreline("score", *words, "--threshold", "0.4", "--threshold", "x=0.9")
    assert again.event("nothing_to_do")
    other = scoreline("score", *words, "--threshold", "0.4")
    assert other.event("run_started")["to_score"] == {"option thresholds changed": 1}


def test_members_that_overwrite_their_inputs(tmp_path: Path) -> None:
    """Each member of an ensemble and its hidden layers see the original inputs."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["a", "b"])
    torch.manual_seed(0)
    models = [nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Linear(2, 1)) for _ in range(2)]
    save_bundle(tmp_path / "b", Ensemble(models), features=["a", "b"], task=Regression(), sample=frame)
    scorer = Scorer.load(tmp_path / "b", device="cpu", hidden=["0"])
    inputs = torch.tensor(frame.to_numpy(), dtype=torch.float32)
    with torch.no_grad():
        wanted = torch.stack([model(inputs.clone()) for model in models]).mean(dim=0)[:, 0]
        bent = nn.functional.leaky_relu(inputs, 0.1)
    table = pa.Table.from_pandas(frame)
    options = ColumnOptions(hidden=("0",))
    (block,) = scorer.score_batches(table.to_batches(), options=options)
    np.testing.assert_allclose(block.rows["prediction"].to_numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(np.stack(block.rows["hidden__0_1"].to_pylist()), bent, atol=1e-6)
