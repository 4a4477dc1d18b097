"""Which models become data, and which need ONNX or a trusted .pt2; docs/reference/models.md shows the same."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PowerTransformer, StandardScaler
from torch import nn

import architectures as arch
from conftest import Result
from described import save_described
from scoreline import Binary, BundleError, Multiclass, Scorer, Table, save_bundle
from textbook import ClassificationModel

RNG = np.random.default_rng(11)
NUMBERS = pd.DataFrame(RNG.normal(size=(64, 6)), columns=list("abcdef"))
AS_DATA: dict[str, Callable[[], nn.Module]] = {
    "FT-Transformer": lambda: arch.FTTransformer(6),
    "tabular ResNet": lambda: arch.TabularResNet(6),
    "TabNet-like": lambda: arch.TabNetLike(6),
    "LSTM over lags": arch.LaggedLSTM,
    "Transformer encoder": arch.EncoderStack,
}


def trained(model: nn.Module) -> nn.Module:
    """The model as after some training: its running statistics are not the defaults."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def softmax(model: nn.Module, *inputs: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.softmax(model(*inputs), 1).numpy()


@pytest.mark.parametrize("name", AS_DATA)
def test_stored_as_data(name: str, tmp_path: Path) -> None:
    """Traced, rebuilt, and equal to the original."""
    model = trained(AS_DATA[name]())
    save_bundle(tmp_path / "b", model, features=list(NUMBERS), task=Multiclass(["x", "y", "z"]), sample=NUMBERS)
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(NUMBERS * 1.3)
    expected = softmax(model, torch.tensor((NUMBERS * 1.3).to_numpy(), dtype=torch.float32))
    np.testing.assert_allclose(got.filter(like="probability"), expected, rtol=0, atol=2e-6)


def test_embeddings_per_categorical(tmp_path: Path) -> None:
    """Two inputs: words through an OrdinalEncoder, numbers scaled."""
    frame = NUMBERS[["a", "b"]].assign(city=RNG.choice(list("uvw"), 64), plan=RNG.choice(list("pq"), 64))
    transformer = ColumnTransformer(
        [("codes", OrdinalEncoder(), ["city", "plan"]), ("numbers", StandardScaler(), ["a", "b"])]
    ).fit(frame)
    model = trained(arch.EntityEmbeddings([3, 2], 2))
    save_bundle(
        tmp_path / "b",
        model,
        inputs={"codes": Table(["city", "plan"]), "numbers": Table(["a", "b"])},
        task=Multiclass([0, 1, 2]),
        scaler=transformer,
        sample=frame,
    )
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(frame)
    prepared = transformer.transform(frame)
    codes, numbers = torch.tensor(prepared[:, :2]).long(), torch.tensor(prepared[:, 2:], dtype=torch.float32)
    np.testing.assert_allclose(got.filter(like="probability"), softmax(model, codes, numbers), rtol=0, atol=1e-6)


def test_models_that_cannot_become_data(tmp_path: Path) -> None:
    """A branch on a tensor's values is refused with its line; torch.export refuses it too; TorchScript accepts a traced
    module."""
    model = trained(arch.GatedExperts(6))
    words: dict[str, Any] = {"features": list(NUMBERS), "task": "multiclass", "labels": [0, 1, 2], "sample": NUMBERS}
    with pytest.raises(BundleError, match=r"architectures\.py:\d+"):
        save_described(tmp_path / "b", model, **words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, torch.zeros(4, 6)).save(str(tmp_path / "m.pt"))
    digest = save_described(tmp_path / "b", tmp_path / "m.pt", **words)
    got = Scorer.load(tmp_path / "b", device="cpu", trust=[digest]).score_frame(NUMBERS)
    expected = softmax(model, torch.tensor(NUMBERS.to_numpy(), dtype=torch.float32))
    np.testing.assert_allclose(got.filter(like="probability"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_real_pipeline_trained_saved_scored(suffix: str, tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """Mixed numbers and words with missing values, trained with torch, scored by the command: equal to scikit-learn and
    torch on the same rows. A null is a value for an imputer, and otherwise a reject."""
    rows = 500
    frame = pd.DataFrame(
        {
            "age": np.where(RNG.random(rows) < 0.1, np.nan, RNG.normal(40, 12, rows).round()),
            "income": RNG.lognormal(10, 1, rows),
            "city": np.where(RNG.random(rows) < 0.1, None, RNG.choice(["Berlin", "São Paulo", "Rome, IT"], rows)),
            "plan": RNG.choice(["a", "b", "c"], rows),
        }
    )
    truth = (frame["income"] > frame["income"].median()).astype(int)
    numeric = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), PowerTransformer())
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"),
        OneHotEncoder(handle_unknown="ignore", min_frequency=5),
    )
    transformer = ColumnTransformer(
        [("n", numeric, make_column_selector(dtype_include="number")), ("w", words, ["city"]),
         ("o", OneHotEncoder(drop="first"), ["plan"])]
    ).fit(frame)  # fmt: skip
    X = torch.tensor(np.asarray(transformer.transform(frame), dtype=np.float32))
    torch.manual_seed(0)
    model = ClassificationModel(X.shape[1], [16], 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(X), torch.tensor(truth.to_numpy())))
        optimizer.step()
    save_bundle(
        tmp_path / "b", model, features=list(frame), task=Binary(["low", "high"]), scaler=transformer, sample=frame
    )
    new = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    new.loc[5, "city"] = "Oslo"  # an unknown word: zeros, as configured
    new.loc[7, "income"] = np.nan  # an imputer fills it
    new.loc[9, "plan"] = None  # the encoder was not fitted on nulls
    new.insert(0, "id", [f"{n:05d}" for n in range(rows)])
    new = new[["plan", "id", "city", "income", "age"]]
    file = tmp_path / f"in{suffix}"
    new.to_parquet(file, index=False) if suffix == ".parquet" else new.to_csv(file, index=False)
    result = scoreline(
        "score", "--bundle", tmp_path / "b", "--input", file, "--output", tmp_path / "out", "--max-rejects", "1"
    )
    assert result.code == 0, result.err
    got = pq.read_table(next((tmp_path / "out").glob("in*.parquet")))
    kept = new.drop(index=9)
    assert got["id"].to_pylist() == kept["id"].tolist()
    expected = softmax(
        model.eval(), torch.tensor(np.asarray(transformer.transform(kept[list(frame)]), dtype=np.float32))
    )
    np.testing.assert_allclose(got["probability"].to_numpy(), expected[:, 1], rtol=0, atol=1e-6)
    assert got["prediction"].to_pylist() == [["low", "high"][n] for n in expected.argmax(1)]
