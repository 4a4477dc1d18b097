"""Several heads with a task each, and ensembles of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.saving.heads import make_heads
from scoreline.pipeline.saving.notes import collected_notes
from torch import Tensor, nn

from conftest import Result
from described import save_described
from scoreline import Binary, BundleError, Ensemble, Multiclass, Multilabel, Regression, Scorer, save_bundle
from task_models import NAMES, X, net, sigmoid, softmax

Command = Callable[..., Result]


class Heads(nn.Module):
    """A trunk with three heads, as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.fraud = nn.Linear(6, 8), nn.Linear(8, 1)
        self.kind, self.amount = nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.relu(self.trunk(x))
        return {"fraud": self.fraud(h), "kind": self.kind(h), "amount": self.amount(h)}


HEADS = {
    "fraud": Binary(["no", "yes"], output="fraud", threshold=0.6),
    "kind": Multiclass(["x", "y", "z"], output="kind"),
    "amount": Regression(output="amount", scaler=100.0),
}


def test_several_heads(scored: Callable[..., pd.DataFrame]) -> None:
    """Each head has a task, and columns with its name."""
    torch.manual_seed(0)
    model = Heads().eval()
    got = scored(model, "--top-k", "1", "--threshold", "fraud=0.3", heads=HEADS)
    assert list(got.columns) == [
        "id", "fraud_prediction", "fraud_probability", "kind_prediction", "kind_probability_x", "kind_probability_y",
        "kind_probability_z", "kind_top_1", "kind_top_1_probability", "amount_prediction",
    ]  # fmt: skip
    with torch.no_grad():
        wanted = {
            name: out.double().numpy() for name, out in model(torch.from_numpy(X.to_numpy(np.float32).copy())).items()
        }
    probability = sigmoid(wanted["fraud"][:, 0])
    np.testing.assert_allclose(got["fraud_probability"], probability, atol=1e-6)
    assert got["fraud_prediction"].tolist() == [["no", "yes"][int(p > 0.3)] for p in probability]
    np.testing.assert_allclose(got["kind_probability_y"], softmax(wanted["kind"])[:, 1], atol=1e-6)
    np.testing.assert_allclose(got["amount_prediction"], wanted["amount"][:, 0] * 100, rtol=1e-5, atol=1e-4)


def test_an_ensemble_of_several_heads(tmp_path: Path) -> None:
    """Classes are combined by the mean probability, the regression by the mean."""
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(Heads().eval())
    save_bundle(tmp_path / "b", Ensemble(models), features=NAMES, task=HEADS, sample=X)
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(X)
    with torch.no_grad():
        outs = [m(torch.from_numpy(X.to_numpy(np.float32).copy())) for m in models]
    fraud = np.mean([sigmoid(out["fraud"].double().numpy()[:, 0]) for out in outs], axis=0)
    kind = np.mean([softmax(out["kind"].double().numpy()) for out in outs], axis=0)
    amount = np.mean([out["amount"].double().numpy()[:, 0] * 100 for out in outs], axis=0)
    np.testing.assert_allclose(got["fraud_probability"], fraud, atol=1e-6)
    np.testing.assert_allclose(got["kind_probability_z"], kind[:, 2], atol=1e-6)
    np.testing.assert_allclose(got["amount_prediction"], amount, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"task": "regression", "top_k": 2}, "unexpected keyword argument 'top_k'"),
        ({"task": "binary", "labels": [0, 1], "quantiles": [0.5]}, "unexpected keyword argument 'quantiles'"),
        ({"task": "binary", "labels": [0, 1], "threshold": 1.5}, "threshold"),
        ({"task": "multilabel", "labels": list("xyz"), "threshold": [0.5]}, "1 number for 3 labels"),
        ({"task": "regression", "quantiles": [0.5, 0.1, 0.9]}, "is not increasing"),
        ({"task": "regression", "labels": list("xyz"), "quantiles": [0.1, 0.9]}, "takes"),
        ({"task": "regression", "labels": list("xyz"), "bounds": (3, 1)}, "low is above high"),
        (
            {"task": "multiclass", "labels": list("xyz"), "bounds": (0, 1)},
            "the bounds of probabilities are always 0 and 1",
        ),
        (
            {"task": "regression", "labels": list("xyz"), "out_of_bounds": "reject"},
            "has no effect without bounds; set bounds",
        ),
        ({"heads": {"a": {"task": "binary"}}}, "missing 1 required positional argument: 'labels'"),
        ({"heads": {"a": {"task": "binary", "label": [0, 1]}}}, "unexpected keyword argument 'label'"),
        ({"heads": {}}, "task is an empty mapping"),
        ({"task": "ranking"}, "pass one of Binary, Multiclass, Multilabel, Regression"),
    ],
)
def test_inconsistent_heads_are_refused(tmp_path: Path, described: dict[str, Any], says: str) -> None:
    """When saving, with a clear message."""
    with pytest.raises((BundleError, TypeError)) as raised:
        save_described(tmp_path / "b", net(3), features=NAMES, sample=X, **described)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        (
            "kind",
            Multiclass(["x", "y"], output="kind"),
            "has the shape [40, 3] for 40 rows, but multiclass with 2 labels",
        ),
        ("amount", Regression(["u", "v"], output="amount"), "but regression with 2 targets takes [rows, 2]"),
        ("amount", Regression(output="amount", quantiles=[0.1, 0.9]), "regression with 2 quantiles of 1 target takes"),
        ("amount", Regression(output="amount", spread="std"), "but regression with 1 target and a spread takes"),
        ("amount", Regression(output="sum"), "output 'sum' of the model does not exist; it returns a dict"),
        ("fraud", Binary([0, 1], output="fraud", outputs="probabilities"), "outputs is 'probabilities', but"),
        ("kind", Multiclass(["x", "y", "z"], output=["kind", "fraud"]), "has the shape [40, 4] for 40 rows"),
    ],
)
def test_errors_name_the_head(tmp_path: Path, name: str, task: Any, says: str) -> None:
    """Its output does not match its task."""
    torch.manual_seed(1)
    with pytest.raises(BundleError) as raised:
        save_bundle(tmp_path / "b", Heads().eval(), features=NAMES, task={**HEADS, name: task}, sample=X[:40])
    assert str(raised.value).startswith(f"task {name!r}: ")
    assert says in str(raised.value)


def test_thresholds_apply_only_to_their_name(tmp_path: Path, scoreline: Command) -> None:
    """A head with the name of another head's label, and a label with the default name of a single head."""
    torch.manual_seed(0)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p, self.q = nn.Linear(6, 1), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.p(x), self.q(x)

    heads = {"p": Binary([0, 1], output=0), "q": Multilabel(["p", "z"], output=1)}
    save_bundle(tmp_path / "b", Two().eval(), features=NAMES, task=heads, sample=X)
    X.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline(*words, "--threshold", "p=0.2", "--threshold", "q.z=0.7").code == 0
    got = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
    assert (got["p_prediction"] == (got["p_probability"] > 0.2)).all()
    assert (got["q_prediction_p"] == (got["q_probability_p"] > 0.5)).all()
    assert (got["q_prediction_z"] == (got["q_probability_z"] > 0.7)).all()
    save_bundle(
        tmp_path / "m",
        net(2),
        features=NAMES,
        task=Multilabel(["output", "u"], threshold=np.array([0.5, 0.4])),
        sample=X,
    )
    words[2], words[-1] = tmp_path / "m", tmp_path / "out2"
    assert scoreline(*words, "--threshold", "output=0.9").code == 0
    got = pq.read_table(tmp_path / "out2" / "in.parquet").to_pandas()
    assert (got["prediction_u"] == (got["probability_u"] > 0.4)).all()
    assert (got["prediction_output"] == (got["probability_output"] > 0.9)).all()


@pytest.mark.parametrize(
    ("outputs", "told"), [((0, 0), True), ((0, 1), False), (("a", "b"), False), ((0, [0, 1]), False)]
)
def test_tasks_that_read_the_same_output(outputs: tuple[Any, Any], told: bool) -> None:
    """Are told, since it is what a forgotten output leads to."""
    first, second = outputs
    with collected_notes() as notes:
        make_heads({"fraud": Binary(["no", "yes"], output=first), "amount": Regression(output=second)})
    wanted = "tasks 'fraud', 'amount' read the same output of the model, the first; others are read with output=…"
    assert notes == [wanted] * told
