"""Whole modules, nets and Pipelines in pickles: read by the child process of `--allow-pickle`, whatever wrote them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from conftest import Result
from packed_files import FRAME, RNG, probabilities, spec
from scoreline import Scorer
from warm_parent import WarmParent

Command = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("forked")
#: A module beside the spec, with a class of networks and one with the attributes of a skorch net.
THEIRS = """
from torch import nn


class Network(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


class Net:
    def __init__(self, module_):
        self.module, self.criterion, self.module_ = Network, nn.CrossEntropyLoss, module_

    def initialize(self): ...
    def load_params(self): ...
    def fit(self, X, y=None): ...
"""
WRITES = {
    "torch.save": "torch.save(model, path)",
    "old torch.save": "torch.save(model, path, _use_new_zipfile_serialization=False)",
    "pickle": "pickle.dump(model, open(path, 'wb'))",
    "joblib": "joblib.dump(model, path, compress=3)",
}


def write(parent: WarmParent, files: Path, how: str, file: str, model: str) -> None:
    """Write a model by another process, from the weights in `inner.pt`."""
    (files / "theirs.py").write_text(THEIRS)
    lines = [
        "import pickle, warnings, joblib, torch",
        "from sklearn.pipeline import Pipeline",
        "from theirs import Net, Network",
        "warnings.simplefilter('ignore')",
        "inner = torch.load('inner.pt', weights_only=False)",
        f"model, path = {model}, {file!r}",
        WRITES[how],
    ]
    parent.execute("\n".join(lines), files)


@pytest.fixture
def inner(files: Path) -> nn.Module:
    torch.manual_seed(2)
    made = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    torch.save(made, files / "inner.pt")
    return made


def scores(bundle: Path, frame: pd.DataFrame) -> np.ndarray:
    return Scorer.load(bundle, device="cpu").score_frame(frame)["probability"].to_numpy()


@pytest.mark.parametrize(
    ("how", "file"),
    [
        ("torch.save", "whole.pth"),
        ("pickle", "whole.pkl"),
        pytest.param("torch.save", "whole.bin", marks=pytest.mark.long),
        pytest.param("old torch.save", "whole.pt", marks=pytest.mark.long),
        pytest.param("pickle", "whole.pt", marks=pytest.mark.long),
        pytest.param("joblib", "whole.pkl", marks=pytest.mark.long),
    ],
)
def test_a_whole_module(
    how: str,
    file: str,
    files: Path,
    inner: nn.Module,
    scaler: StandardScaler,
    scoreline: Command,
    warm_parent: WarmParent,
) -> None:
    """Its class is imported from the folder of the spec only with --allow-import."""
    write(warm_parent, files, how, file, "Network(inner)")
    path = spec(files, model=f'file = "{file}"')
    refused = scoreline("pack", path, files / "b")
    assert refused.code == 78
    assert "which can execute any code when it is read; if you trust it, pass --allow-pickle" in refused.message
    if not file.endswith(".pkl"):
        assert "is a whole model saved as a pickle (theirs.Network)" in refused.message
    refused = scoreline("pack", path, files / "b", "--allow-pickle")
    assert refused.code == 78
    assert "needs the Python module 'theirs', which defines one of its classes" in refused.message
    assert "pass --allow-import as well" in refused.message
    result = scoreline("pack", path, files / "b", "--allow-pickle", "--allow-import")
    assert result.code == 0, result.err
    np.testing.assert_allclose(scores(files / "b", FRAME), probabilities(inner, scaler, FRAME)[:, 1], rtol=0, atol=1e-6)


def test_a_module_of_layers_of_torch(files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command) -> None:
    """It needs no import."""
    result = scoreline("pack", spec(files, model='file = "whole.pt"'), files / "b", "--allow-pickle")
    assert result.code == 0, result.err
    np.testing.assert_allclose(scores(files / "b", FRAME), probabilities(model, scaler, FRAME)[:, 1], rtol=0, atol=1e-6)


def test_a_module_of_a_notebook(files: Path, scoreline: Command, warm_parent: WarmParent) -> None:
    """Its class cannot be found by any other process."""
    code = "import torch\nclass Net(torch.nn.Linear): pass\ntorch.save(Net(3, 2), 'whole.pt')"
    warm_parent.execute(code, files)
    refused = scoreline("pack", spec(files, model='file = "whole.pt"'), files / "b")
    assert "(__main__.Net)" in refused.message
    refused = scoreline("pack", spec(files, model='file = "whole.pt"'), files / "b", "--allow-pickle")
    assert refused.code == 78
    assert "needs the class 'Net' of the script or notebook that saved it; save the weights instead" in refused.message


@pytest.mark.parametrize("how", [pytest.param("joblib", marks=pytest.mark.long), "torch.save"])
def test_a_pipeline_with_a_net(
    how: str, files: Path, inner: nn.Module, scoreline: Command, warm_parent: WarmParent
) -> None:
    """Its transformers are the scaler, and text in them is read as text, also if it is digits."""
    frame = FRAME.assign(c=RNG.choice(["1", "2"], 40))[["a", "c"]]
    frame.to_csv(files / "sample.csv", index=False)
    fitted = ColumnTransformer([("n", StandardScaler(), ["a"]), ("c", OneHotEncoder(), ["c"])]).fit(frame)
    torch.save(fitted, files / "fitted.pt")
    pipeline = "Pipeline([('columns', torch.load('fitted.pt', weights_only=False)), ('net', Net(inner))])"
    write(warm_parent, files, how, "pipeline.joblib", pipeline)
    path = spec(files, model='file = "pipeline.joblib"', scaler=None)
    path.write_text(path.read_text().replace(str(list(FRAME)), '["a", "c"]'))
    result = scoreline("pack", path, files / "b", "--allow-pickle", "--allow-import")
    assert result.code == 0, result.err
    np.testing.assert_allclose(scores(files / "b", frame), probabilities(inner, fitted, frame)[:, 1], rtol=0, atol=1e-6)


def test_a_pickle_that_is_no_model(files: Path, scoreline: Command) -> None:
    """Named with its class; `scaler.pkl` is a fitted scaler."""
    refused = scoreline("pack", spec(files, model='file = "scaler.pkl"'), files / "b", "--allow-pickle")
    assert refused.code == 78
    assert "holds a StandardScaler, not a torch.nn.Module, skorch net or Pipeline" in refused.message
