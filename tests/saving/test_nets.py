"""skorch nets, and Pipelines that end in one: recognised by their attributes, also where skorch is not installed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from scoreline import Binary, BundleError, Ensemble, Multiclass, Scorer, save_bundle
from textbook import randomized

RNG = np.random.default_rng(4)
FRAME = pd.DataFrame(
    {"a": RNG.normal(50, 9, 60), "b": RNG.normal(size=60), "c": RNG.choice(list("xyz"), 60)}
)  # fmt: skip
NUMBERS = FRAME[["a", "b"]]


class Net:
    """The attributes of a skorch net; `module_` once it is fitted."""

    def __init__(self, module: nn.Module | None) -> None:
        self.module, self.criterion = nn.Linear, nn.CrossEntropyLoss
        if module is not None:
            self.module_ = module

    def initialize(self) -> Any: ...

    def load_params(self) -> Any: ...

    def fit(self, X: Any, y: Any = None) -> Any:
        return self


def network(width: int) -> nn.Module:
    torch.manual_seed(width)
    return randomized(nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, 2))).eval()


def by_torch(model: nn.Module, matrix: Any) -> np.ndarray:
    with torch.no_grad():
        logits = model(torch.tensor(np.asarray(matrix, dtype=np.float32)))
    return torch.softmax(logits, dim=1)[:, 1].numpy()


def scored(folder: Path, model: Any, frame: pd.DataFrame, **more: Any) -> np.ndarray:
    save_bundle(folder / "b", model, features=list(frame), task=Binary(["no", "yes"]), sample=frame, **more)
    return Scorer.load(folder / "b", device="cpu").score_frame(frame)["probability"].to_numpy()


def test_a_net_is_its_module(tmp_path: Path) -> None:
    """Alone, with a scaler, and in an ensemble."""
    model = network(2)
    np.testing.assert_allclose(scored(tmp_path, Net(model), NUMBERS), by_torch(model, NUMBERS), atol=1e-6)
    scaler = StandardScaler().fit(NUMBERS)
    got = scored(tmp_path, Net(model), NUMBERS, scaler=scaler)
    np.testing.assert_allclose(got, by_torch(model, scaler.transform(NUMBERS)), atol=1e-6)
    got = scored(tmp_path, Ensemble([Net(model), model]), NUMBERS)
    np.testing.assert_allclose(got, by_torch(model, NUMBERS), atol=1e-6)


def test_the_transformers_of_a_pipeline_are_the_scaler(tmp_path: Path) -> None:
    """Numbers and text, equal to the transformers and the module by themselves."""
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["a", "b"]), ("words", OneHotEncoder(sparse_output=False), ["c"])]
    )
    fitted = columns.fit(FRAME)
    model = network(5)
    pipeline = Pipeline([("columns", fitted), ("nothing", "passthrough"), ("net", Net(model))])
    got = scored(tmp_path, pipeline, FRAME)
    np.testing.assert_allclose(got, by_torch(model, fitted.transform(FRAME)), atol=1e-6)
    alone = Pipeline([("net", Net(network(2)))])
    np.testing.assert_allclose(scored(tmp_path, alone, NUMBERS), by_torch(network(2), NUMBERS), atol=1e-6)


SCALER = StandardScaler().fit(NUMBERS)


@pytest.mark.parametrize(
    ("model", "scaler", "message"),
    [
        (Net(None), None, "Net is not fitted: it has no module_; call fit, or initialize and load_params"),
        (make_pipeline(SCALER, Net(None)), None, "Net is not fitted"),
        (make_pipeline(SCALER, LogisticRegression()), None, "a Pipeline that ends in a LogisticRegression; only one"),
        (make_pipeline(SCALER, Net(network(2))), SCALER, "with the transformers standardscaler, and scaler is given"),
        (Ensemble([make_pipeline(SCALER, Net(network(2)))] * 2), None, "the members of an ensemble share one scaler"),
        (LogisticRegression(), None, "the model is a LogisticRegression, not a torch.nn.Module"),
    ],
)
def test_models_that_cannot_be_unwrapped(model: Any, scaler: Any, message: str, tmp_path: Path) -> None:
    """One line, with what to pass instead."""
    with pytest.raises(BundleError, match=message) as caught:
        scored(tmp_path, model, NUMBERS, scaler=scaler)
    assert "\n" not in str(caught.value)


def test_a_pickled_model_by_its_path(tmp_path: Path) -> None:
    """It is not unpickled; the message names its class, or says that the file has only weights."""
    torch.save(network(2), tmp_path / "whole.pt")
    torch.save(network(2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(BundleError, match=r"is a pickle \(torch.nn.modules.container.Sequential\), which can execute"):
        scored(tmp_path, tmp_path / "whole.pt", NUMBERS)
    with pytest.raises(BundleError, match=r"load_weights\(module, 'weights.pt'\)"):
        scored(tmp_path, tmp_path / "weights.pt", NUMBERS)


def test_skorch_itself(tmp_path: Path) -> None:
    """A trained pipeline gives the probabilities of its own predict_proba."""
    skorch = pytest.importorskip("skorch")
    matrix, target = NUMBERS.to_numpy(dtype=np.float32), (FRAME["b"] > 0).to_numpy(dtype=np.int64)
    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(network(2), criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0)
    pipeline = make_pipeline(StandardScaler(), net).fit(matrix, target)
    save_bundle(tmp_path / "b", pipeline, features=["a", "b"], task=Multiclass([0, 1]), sample=NUMBERS)
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(NUMBERS)
    np.testing.assert_allclose(got[["probability_0", "probability_1"]], pipeline.predict_proba(matrix), atol=1e-5)
