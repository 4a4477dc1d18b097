"""Attributions, compared with captum on the bare model and with direct calculation."""

from itertools import chain, combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from captum import attr
from scoreline.pipeline.errors import UsageError
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from torch import nn

from conftest import Example
from explained import METHODS, explained
from scoreline import Binary, Multiclass, Regression, Scorer, Table, save_bundle

pytestmark = pytest.mark.usefixtures("one_core")


def attributions(scored: pd.DataFrame, features: list[str]) -> np.ndarray:
    """`[rows, features]`."""
    return scored[[f"attribution_{name}" for name in features]].to_numpy(dtype=np.float64)


def middle(frame: pd.DataFrame) -> np.ndarray:
    """The lower median of every column of the bundle's golden rows, `[1, features]`."""
    indices = np.unique(np.linspace(0, len(frame) - 1, min(256, len(frame))).round().astype(int))
    return np.quantile(frame.to_numpy(dtype=np.float64)[indices], 0.5, axis=0, method="lower")[None]


def prepared(example: Example, raw: np.ndarray) -> torch.Tensor:
    """The model's inputs, from the user's own scaler."""
    return torch.from_numpy(example.scaler.transform(pd.DataFrame(raw, columns=example.features)).astype(np.float32))


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, nn.Linear, StandardScaler]:
    """A scaler and one linear layer, with known weights."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(50, 20, (120, 4)), columns=list("abcd"))
    scaler = StandardScaler().fit(frame)
    torch.manual_seed(3)
    model = nn.Linear(4, 1)
    folder = tmp_path_factory.mktemp("linear") / "bundle"
    save_bundle(folder, model, features=list("abcd"), task=Regression(), scaler=scaler, sample=frame)
    return folder, frame, model, scaler


@pytest.mark.parametrize("method", ["integrated-gradients", "shapley", "occlusion"])
def test_a_linear_model_is_weight_times_difference(linear: Any, method: str) -> None:
    """w / scale × (value − baseline), in the units of the raw features."""
    folder, frame, model, scaler = linear
    scored = explained(folder, frame, method)
    weights = model.weight.detach().double().numpy()[0] / scaler.scale_
    np.testing.assert_allclose(
        attributions(scored, list("abcd")), weights * (frame.to_numpy() - middle(frame)), rtol=1e-4, atol=1e-5
    )


def test_lime_finds_the_weights_of_a_linear_model(linear: Any) -> None:
    """Up to the shrinkage of a regression on 200 samples."""
    folder, frame, model, scaler = linear
    found = attributions(explained(folder, frame.head(20), "lime"), list("abcd"))
    weights = model.weight.detach().double().numpy()[0] / scaler.scale_
    wanted = weights * (frame.head(20).to_numpy() - middle(frame))
    assert np.abs(found - wanted).max() < 0.15


@pytest.mark.parametrize("method", METHODS[:2] + METHODS[3:])
def test_equal_to_captum_on_the_bare_model(digits: Example, method: str) -> None:
    """With the same rows and baseline, for the predicted class."""
    frame = digits.frame.head(40)
    scored = explained(digits.bundle, frame, method)
    inputs = prepared(digits, frame[digits.features].to_numpy(dtype=np.float64))
    baseline = prepared(digits, middle(digits.frame[digits.features]))
    model = digits.model.eval()
    with torch.no_grad():
        target = model(inputs).argmax(dim=1)
    match method:
        case "integrated-gradients":
            bare = attr.IntegratedGradients(model).attribute(inputs, baseline, target=target, n_steps=50)
        case "occlusion":
            occlusion = attr.Occlusion(model)
            bare = occlusion.attribute(inputs, sliding_window_shapes=(1,), baselines=baseline, target=target)
        case _:
            shapley = attr.ShapleyValueSampling(model)
            draw = torch.Generator().manual_seed(0)
            shapley.permutation_generator = lambda number, orders: (
                torch.randperm(number, generator=draw).tolist() for _ in range(orders)
            )
            bare = shapley.attribute(inputs, baselines=baseline, target=target, n_samples=25)
    np.testing.assert_allclose(
        attributions(scored, digits.features), bare.detach().numpy(), rtol=2e-4, atol=2e-5, err_msg=method
    )


@pytest.mark.parametrize("features", [1, 2, 3, 4])
def test_few_features_have_exact_shapley_values(features: int, tmp_path: Path) -> None:
    """The weighted mean of what a feature adds to every subset of the others (Shapley 1953), in float64."""
    torch.manual_seed(features)
    names = list("abcd")[:features]
    model = nn.Sequential(nn.Linear(features, 9), nn.Tanh(), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 1)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(41, features)).astype(np.float32), columns=names)
    save_bundle(tmp_path / "b", model, features=names, task=Regression(), sample=frame)
    found = attributions(explained(tmp_path / "b", frame, "shapley"), names)
    base, model = middle(frame), model.double()
    wanted = np.zeros_like(found, dtype=np.float64)
    for at in range(features):
        others = [one for one in range(features) if one != at]
        for kept in chain.from_iterable(combinations(others, size) for size in range(features)):
            mixed = np.tile(base, (len(frame), 1))
            mixed[:, list(kept)] = frame.to_numpy()[:, list(kept)]
            more = mixed.copy()
            more[:, at] = frame.to_numpy()[:, at]
            with torch.no_grad():
                added = (model(torch.from_numpy(more)) - model(torch.from_numpy(mixed)))[:, 0].numpy()
            weight = factorial(len(kept)) * factorial(features - len(kept) - 1) / factorial(features)
            wanted[:, at] += weight * added
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("method", METHODS[:2])
def test_attributions_sum_to_the_difference_in_score(cancer: Example, method: str) -> None:
    """Up to the reported gap, which is small."""
    frame = cancer.frame.head(60)
    scored = explained(cancer.bundle, frame, method, target="1")
    scores = cancer.raw(frame)[:, 0].astype(np.float64)
    base = middle(cancer.frame[cancer.features])
    with torch.no_grad():
        alone = float(cancer.model.eval()(prepared(cancer, base))[0, 0])
    sums = attributions(scored, cancer.features).sum(axis=1)
    gap = scored["attribution_gap"].to_numpy(dtype=np.float64)
    np.testing.assert_allclose(sums - (scores - alone), gap, atol=1e-4)
    assert np.abs(gap).max() < (0.05 if method == "integrated-gradients" else 1e-3) * np.abs(scores - alone).max()


def test_the_predicted_class_of_one_logit(linear: Any, tmp_path: Path) -> None:
    """If the first label is predicted, its score is the negative logit."""
    _, frame, model, scaler = linear
    bundle = tmp_path / "b"
    save_bundle(bundle, model, features=list("abcd"), task=Binary(["no", "yes"]), scaler=scaler, sample=frame)
    own = explained(bundle, frame, "occlusion")
    second = attributions(explained(bundle, frame, "occlusion", target="yes"), list("abcd"))
    sign = np.where(own["prediction"] == "yes", 1.0, -1.0)[:, None]
    assert {-1.0, 1.0} == set(sign[:, 0])
    np.testing.assert_allclose(attributions(own, list("abcd")), sign * second, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_raw_features_behind_a_scaler_and_one_hot(tmp_path: Path, method: str) -> None:
    """A text feature that is encoded into four columns has one attribution, and the sum is correct."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"size": rng.normal(10, 3, 90), "colour": rng.choice(["red", "green", "blue", "grey"], 90), "age": range(90)}
    )
    scaler = ColumnTransformer(
        [("n", StandardScaler(), ["size", "age"]), ("c", OneHotEncoder(sparse_output=False), ["colour"])]
    ).fit(frame)
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    save_bundle(
        tmp_path / "b",
        model,
        features=["size", "colour", "age"],
        task=Multiclass(["x", "y", "z"]),
        scaler=scaler,
        sample=frame,
    )
    scored = explained(tmp_path / "b", frame.head(30), method, target="y")
    names = [column for column in scored.columns if column.startswith("attribution_") and column != "attribution_gap"]
    assert names == ["attribution_size", "attribution_colour", "attribution_age"]
    if method == "lime":
        return
    usual = frame["colour"].value_counts()
    common = min(usual[usual == usual.max()].index)
    codes = scaler.transform(frame.head(30))
    base = scaler.transform(
        pd.DataFrame({"size": middle(frame[["size"]])[0], "colour": [common], "age": middle(frame[["age"]])[0]})
    )
    parts = model.weight.detach().numpy()[1] * (codes - base)
    wanted = np.stack([parts[:, 0], parts[:, 2:].sum(axis=1), parts[:, 1]], axis=1)
    np.testing.assert_allclose(scored[names].to_numpy(dtype=np.float64), wanted, atol=2e-5)


def test_embeddings_are_explained_but_not_by_gradients(tmp_path: Path) -> None:
    """The baseline of an index is the most frequent one; gradients are meaningless for indices and are refused."""

    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(5, 3), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.cat([self.table(x[:, 0].long()), x[:, 1:]], dim=1))

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": rng.choice(5, 60, p=[0.1, 0.1, 0.5, 0.2, 0.1]), "x": rng.normal(size=60)})
    torch.manual_seed(0)
    model = Lookup().eval()
    save_bundle(tmp_path / "b", model, features=["kind", "x"], task=Regression(), sample=frame)
    scored = explained(tmp_path / "b", frame, "occlusion")
    base = torch.tensor(np.stack([np.full(60, 2.0), frame["x"]], axis=1), dtype=torch.float32)
    with torch.no_grad():
        wanted = model(torch.tensor(frame.to_numpy(), dtype=torch.float32)) - model(base)
    np.testing.assert_allclose(scored["attribution_kind"], wanted[:, 0].numpy(), atol=1e-5)
    with pytest.raises(Exception, match="'kind' is an index into an embedding"):
        explained(tmp_path / "b", frame, "integrated-gradients")


def test_ambiguous_attributions_are_refused(tmp_path: Path) -> None:
    """Products of features belong to no single feature; with several targets, one must be named."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
    scaler = PolynomialFeatures(2).fit(frame)
    save_bundle(tmp_path / "p", nn.Linear(6, 1), features=["a", "b"], task=Regression(), scaler=scaler, sample=frame)
    with pytest.raises(Exception, match="combines several into one number"):
        explained(tmp_path / "p", frame, "shapley")
    save_bundle(tmp_path / "t", nn.Linear(2, 2), features=["a", "b"], task=Regression(["u", "v"]), sample=frame)
    with pytest.raises(Exception, match="is missing; use one of 'u', 'v'"):
        explained(tmp_path / "t", frame, "shapley")
    assert len(explained(tmp_path / "t", frame, "shapley", target="v")) == 40


class _Overwriting(nn.Module):
    """Overwrites one input, and does not use the other."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.out = nn.LeakyReLU(0.3, inplace=True), nn.Linear(2, 1)

    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
        return self.out(self.act(x))


@pytest.mark.parametrize("method", METHODS[:2] + METHODS[3:])
def test_models_that_overwrite_their_inputs(tmp_path: Path, method: str) -> None:
    """Each pass has its own copy of the inputs; the attribution of an unused input is 0."""
    frame = pd.DataFrame({"a": np.linspace(-2, 2, 101), "b": np.linspace(3, -3, 101), "c": np.ones(101)})
    torch.manual_seed(0)
    model = _Overwriting()
    save_bundle(
        tmp_path / "b", model, inputs={"x": Table(["a", "b"]), "unused": Table(["c"])}, task=Regression(), sample=frame
    )
    found = attributions(explained(tmp_path / "b", frame, method), ["a", "b", "c"])
    weights = model.out.weight.detach().double().numpy()[0]
    bent = np.where(frame[["a", "b"]] < 0, 0.3 * frame[["a", "b"]], frame[["a", "b"]])
    base = middle(frame[["a", "b"]])
    wanted = weights * (bent - np.where(base < 0, 0.3 * base, base))
    np.testing.assert_allclose(found[:, :2], wanted, atol=0.02 if method == METHODS[0] else 1e-5)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-6)  # the difference of two equal sums, added in any order


def test_lime_does_not_depend_on_the_unit(tmp_path: Path) -> None:
    """Attributions scale with the model's unit, such as thousandths."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    found = []
    for factor in (1.0, 0.001):
        save_bundle(tmp_path / f"{factor}", model, features=list("abc"), task=Regression(scaler=factor), sample=frame)
        found.append(attributions(explained(tmp_path / f"{factor}", frame.head(10), "lime"), list("abc")) / factor)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["sequence", "image"])
@pytest.mark.parametrize("method", ["integrated-gradients", "shapley", "lime", "occlusion"])
def test_other_inputs_than_tables_are_refused(kind: str, method: Any) -> None:
    """By the Python API as by the command."""
    bundle = Path(__file__).parents[2] / "bundles" / "format1" / kind / "bundle"
    with pytest.raises(UsageError, match="--explain is for tables, and input"):
        Scorer.load(bundle, device="cpu", explain=method)
