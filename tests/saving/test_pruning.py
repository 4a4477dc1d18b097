"""Magnitude pruning: the smallest weights become zero, and the bundle records the effect."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from conftest import Result
from scoreline import BundleError, Generation, Model, Multiclass, Regression, Scorer, TokenSequence, save_bundle
from sequence_models import TOKENS, Goes, lists_of_tokens

X = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 6)), columns=list("abcdef"))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def test_the_smallest_weights_are_zero_and_the_others_unchanged(
    tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """Compared with sorting by hand; the given model is not changed, and `check` reports the pruning."""
    given, by_hand = model(), model()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    save_bundle(
        tmp_path / "b", Model(given, prune=0.5), features=list(X.columns), task=Multiclass(["x", "y", "z"]), sample=X
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.state_dict().items())
    with torch.no_grad():
        for layer in (by_hand[0], by_hand[2]):
            limit = layer.weight.abs().flatten().sort().values[layer.weight.numel() // 2]
            layer.weight[layer.weight.abs() < limit] = 0
        rows = torch.from_numpy(X.to_numpy(np.float32).copy())
        wanted, whole = torch.softmax(by_hand(rows), dim=1).numpy(), given(rows).numpy()
        pruned = by_hand(rows).numpy()
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(X)
    np.testing.assert_allclose(got[["probability_x", "probability_y", "probability_z"]], wanted, atol=1e-6)
    pruning = json.loads((tmp_path / "b" / "bundle.json").read_text())["pruning"]
    assert (pruning["zeros"], pruning["weights"]) == (72, 144)
    assert pruning["labels_changed"] == int((pruned.argmax(1) != whole.argmax(1)).sum()) > 0
    assert pruning["largest_difference"] == pytest.approx(np.abs(pruned - whole).max(), rel=1e-4)
    shown = scoreline("check", "--bundle", tmp_path / "b").out
    assert "72 of 144 weights are zero" in shown
    assert "do not run faster" in shown


@pytest.mark.parametrize(
    ("given", "share", "message"),
    [
        (model(), 1.5, "is not above 0 and below 1"),
        (nn.ReLU(), 0.5, "the model has none"),
        (model(), 0.0, "Model: prune: 0.0 is not above 0 and below 1"),
        (model(), float("nan"), "Model: prune: nan is not above 0"),
        (Path("model.onnx"), 0.5, "needs a module whose weights"),
    ],
)
def test_invalid_pruning_is_refused(tmp_path: Path, given: object, share: float, message: str) -> None:
    """With the reason."""
    with pytest.raises(BundleError, match=message):
        save_bundle(tmp_path / "b", Model(given, prune=share), features=list(X.columns), task=Regression(), sample=X)


def test_expected_outputs_are_those_of_the_pruned_model(tmp_path: Path) -> None:
    """Predictions of the unpruned model are not reproduced."""
    with torch.no_grad():
        expected = model()(torch.from_numpy(X.to_numpy(np.float32).copy())).argmax(1).numpy()
    with pytest.raises(BundleError, match="golden rows were not reproduced"):
        save_bundle(
            tmp_path / "b",
            Model(model(), prune=0.9),
            features=list(X.columns),
            task=Multiclass([0, 1, 2]),
            sample=X,
            expected=expected,
        )


class Masked(nn.Module):
    """Masks the first label of some rows by a logit of minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x)
        return torch.cat([torch.where(x[:, :1] > 0.5, -torch.inf, z[:, :1]), z[:, 1:]], dim=1)


def test_masked_labels_can_be_pruned(tmp_path: Path) -> None:
    """The difference of infinite logits is not a number, and is left out."""
    features = list(X.columns)
    save_bundle(tmp_path / "b", Model(Masked(), prune=0.5), features=features, task=Multiclass(list("xyz")), sample=X)
    pruning = json.loads((tmp_path / "b" / "bundle.json").read_text())["pruning"]
    assert 0 < pruning["largest_difference"] < 10


def test_generated_texts_can_be_pruned(tmp_path: Path) -> None:
    """Although their lengths change; the difference is that of their scores."""
    torch.manual_seed(0)
    save_bundle(
        tmp_path / "b",
        Model(Goes().eval(), prune=0.7),
        inputs=TokenSequence("x", longest=40),
        task=Generation(TOKENS, end="</s>", steps=8),
        sample=pa.table({"x": pa.array(lists_of_tokens())}),
    )
    pruning = json.loads((tmp_path / "b" / "bundle.json").read_text())["pruning"]
    assert 0 < pruning["largest_difference"] < 100


def test_a_layer_that_is_pruned_already(tmp_path: Path) -> None:
    """Its zeros count: half of all weights are zero, not half of the rest."""
    given = model()
    for layer in given.modules():
        if isinstance(layer, nn.Linear):
            torch_prune.l1_unstructured(layer, "weight", amount=0.3)
    features, task = list(X.columns), Multiclass(list("xyz"))
    save_bundle(tmp_path / "b", Model(given, prune=0.5), features=features, task=task, sample=X)
    pruning = json.loads((tmp_path / "b" / "bundle.json").read_text())["pruning"]
    assert (pruning["zeros"], pruning["weights"]) == (72, 144)
