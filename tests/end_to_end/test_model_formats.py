"""One trained model gives the same predictions in every format; a model that is code loads only if it is trusted."""

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import UntrustedBundleError
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer as Function
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from torch import Tensor, nn

from conftest import Result
from scoreline import Binary, BundleError, GoldenMismatchError, Model, Regression, Scorer, Table, save_bundle
from textbook import ClassificationModel, randomized

RNG = np.random.default_rng(3)

FRAME = pd.DataFrame(
    {"a": RNG.normal(5, 2, 60), "b": RNG.normal(-1, 9, 60), "city": RNG.choice(["x", "y", "z"], 60), "k": range(60)}
)

CITIES = ["x", "y", "z"]

KINDS = ["graph", "onnx", "pt2", "torchscript", "import"]


class TwoTowers(nn.Module):
    """Takes a numeric tensor and a categorical one; returns (logits, embedding)."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)
        self.numbers = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        self.out = nn.Linear(8, 2)

    def forward(self, numbers: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.table(codes).flatten(1)
        return self.out(torch.cat([self.numbers(numbers), embedded], dim=1)), embedded


class ByName(TwoTowers):
    """The same with one dict of inputs; returns a dict."""

    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        logits, embedded = super().forward(given["numbers"], given["codes"])
        return {"logits": logits, "embedded": embedded}


def make_two_towers() -> TwoTowers:
    """The factory that an import path names."""
    return TwoTowers()


@pytest.fixture(scope="module")
def towers() -> TwoTowers:
    torch.manual_seed(5)
    return TwoTowers().eval()


@pytest.fixture(scope="module")
def scaler() -> StandardScaler:
    return StandardScaler().fit(FRAME[["a", "b"]])


def exported(model: nn.Module, kind: str, folder: Path, example: tuple[Any, ...], names: list[str]) -> Any:
    """The model as a user would have saved it."""
    if kind == "graph":
        return model
    if kind == "import":
        sys.modules["scoreline_test_factory"] = sys.modules[__name__]
        return ("scoreline_test_factory:make_two_towers", model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporters
        if kind == "pt2":
            batch = torch.export.Dim("batch", min=2)
            program = torch.export.export(model, example, dynamic_shapes=tuple({0: batch} for _ in example))
            torch.export.save(program, folder / "m.pt2")
            return folder / "m.pt2"
        if kind == "torchscript":
            torch.jit.trace(model, example).save(str(folder / "m.pt"))
            return folder / "m.pt"
        batch = torch.export.Dim("batch", min=2)
        program = torch.onnx.export(
            model, example, input_names=names, dynamo=True, verbose=False,
            dynamic_shapes=tuple({0: batch} for _ in example),
        )  # fmt: skip
        program.save(str(folder / "m.onnx"))
        return folder / "m.onnx"


def digest_of(bundle: Path) -> str:
    """The digest that a refusal prints."""
    with pytest.raises(UntrustedBundleError) as caught:
        Scorer.load(bundle, device="cpu")
    return str(caught.value).split("--trust ")[1][:71]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_in_every_format(kind: str, tmp_path: Path, towers: TwoTowers, scaler: StandardScaler) -> None:
    """Two inputs, a tuple of outputs, words through a vocabulary; compared with bare torch."""
    codes = FRAME[["city"]].map(CITIES.index).to_numpy()
    numbers = torch.tensor(scaler.transform(FRAME[["a", "b"]]), dtype=torch.float32)
    example = (numbers[:5], torch.tensor(codes[:5]))
    model = exported(towers, kind, tmp_path, example, ["numbers", "codes"])
    save_bundle(
        tmp_path / "b",
        model,
        inputs={"numbers": Table(["a", "b"]), "codes": Table(["city"], vocabularies={"city": CITIES})},
        task=Binary(["no", "yes"]),
        scaler=scaler,
        sample=FRAME,
    )
    trust = [digest_of(tmp_path / "b")] if kind in ("pt2", "torchscript", "import") else []
    got = Scorer.load(tmp_path / "b", device="cpu", trust=trust).score_frame(FRAME)
    with torch.no_grad():
        expected = torch.softmax(towers(numbers, torch.tensor(codes))[0], dim=1)
    np.testing.assert_allclose(got["probability"], expected[:, 1], rtol=0, atol=1e-6)
    assert got["prediction"].tolist() == [["no", "yes"][n] for n in expected.argmax(1)]
    assert got["k"].tolist() == FRAME["k"].tolist()


def test_dicts_in_and_out(tmp_path: Path, scaler: StandardScaler) -> None:
    """One dict of inputs by name; a head selected by its key; an index out of range is still found."""
    torch.manual_seed(5)
    model = ByName().eval()
    save_bundle(
        tmp_path / "b",
        Model(model, call="dict"),
        inputs={"numbers": Table(["a", "b"]), "codes": Table(["k"])},
        task=Binary([0, 1], output="logits"),
        scaler=[(scaler, ["a", "b"])],
        sample=FRAME.assign(k=FRAME["k"] % 3),
    )
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    rows, rejects = scorer.score_table(pa.Table.from_pandas(FRAME.drop(columns="city")), with_rejects=True)
    assert (rows.num_rows, rejects.num_rows) == (3, 57)
    assert "range 0–2" in rejects["reject"][0].as_py()["reason"]
    numbers = torch.tensor(scaler.transform(FRAME[["a", "b"]].head(3)), dtype=torch.float32)
    with torch.no_grad():
        logits = model({"numbers": numbers, "codes": torch.tensor([[0], [1], [2]])})["logits"]
    np.testing.assert_allclose(rows["probability"], torch.softmax(logits, 1)[:, 1], rtol=0, atol=1e-6)


def test_code_needs_trust(
    tmp_path: Path, towers: TwoTowers, scaler: StandardScaler, scoreline: Callable[..., Result]
) -> None:
    """M2: refused with the exact flag and job-file line, both of which work; another digest does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(nn.Linear(2, 1), torch.zeros(3, 2)).save(str(tmp_path / "m.pt"))
    save_bundle(tmp_path / "b", tmp_path / "m.pt", features=["a", "b"], task=Regression(), sample=FRAME)
    FRAME.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    refused = scoreline(*words)
    assert refused.code == 78
    flag = refused.message.split("add ")[1].split(", or")[0].split()
    line = refused.message.split("job file: ")[1].strip()
    assert scoreline(*words, "--trust", "sha256:" + "0" * 64).code == 78
    assert scoreline(*words, *flag).code == 0
    (tmp_path / "job.toml").write_text(line + "\n")
    assert scoreline(*words, "--job", tmp_path / "job.toml").code == 0
    assert scoreline("check", "--bundle", tmp_path / "b").code == 78
    shown = scoreline("check", "--bundle", tmp_path / "b", *flag)
    assert "torchscript, code: trusted by its digest" in shown.out


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(), StandardScaler(with_mean=False), RobustScaler(), RobustScaler(with_scaling=False),
        MinMaxScaler((-1, 3)), Function(np.log1p, np.expm1), Function(np.sqrt, np.square),
    ],
    ids=repr,
)  # fmt: skip
def test_predictions_in_the_targets_own_unit(tmp_path: Path, scaler: Any) -> None:
    """Compared with the scaler's own inverse_transform in float64."""
    scaler = scaler.fit(np.abs(RNG.normal(1000, 300, (50, 1))))
    model = randomized(ClassificationModel(2, [8], 1)).eval()
    save_bundle(tmp_path / "b", model, features=["a", "b"], task=Regression(scaler=scaler), sample=FRAME)
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(FRAME)
    with torch.no_grad():
        raw = model(torch.tensor(FRAME[["a", "b"]].to_numpy(), dtype=torch.float32)).double().numpy()
    expected = scaler.inverse_transform(raw)[:, 0]
    np.testing.assert_allclose(got["prediction"], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_a_lost_target_scaler_is_noticed(tmp_path: Path) -> None:
    """It was removed from the manifest by hand."""
    scaler = StandardScaler().fit(RNG.normal(1000, 300, (50, 1)))
    model = nn.Linear(2, 1)
    save_bundle(tmp_path / "b", model, features=["a", "b"], task=Regression(scaler=scaler), sample=FRAME)
    fields = json.loads((tmp_path / "b" / "bundle.json").read_text())
    fields["heads"][0]["rescale"] = []
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(fields))
    with pytest.raises(GoldenMismatchError, match="column 'prediction'"):
        Scorer.load(tmp_path / "b", device="cpu")


def test_text_needs_an_encoding(tmp_path: Path) -> None:
    """And a word nobody saw is a reject."""
    with pytest.raises(BundleError, match="'city' is text, but is not encoded as numbers"):
        save_bundle(tmp_path / "b", nn.Linear(2, 1), features=["a", "city"], task=Regression(), sample=FRAME)
    transformer = ColumnTransformer([("keep", "passthrough", ["a"])]).fit(FRAME[["a", "city"]])
    save_bundle(
        tmp_path / "b", nn.Linear(1, 1), features=["a", "city"], task=Regression(), scaler=transformer, sample=FRAME
    )
    shutil.rmtree(tmp_path / "b")
    save_bundle(
        tmp_path / "b",
        nn.Linear(2, 1),
        inputs=Table(["a", "city"], vocabularies={"city": CITIES}),
        task=Regression(),
        sample=FRAME,
    )
    table = pa.table({"a": [1.0, 2.0, 3.0], "city": ["x", "Oslo", None]})
    rows, rejects = Scorer.load(tmp_path / "b", device="cpu").score_table(table, with_rejects=True)
    assert rows.num_rows == 1
    assert [(r["column"], r["reason"]) for r in rejects["reject"].to_pylist()] == [
        ("city", "is a category that was not seen in training"),
        ("city", "is null"),
    ]


def test_a_null_among_the_words_means_what_it_did_in_training(tmp_path: Path) -> None:
    """An encoder distinguishes None from NaN; a file has one null, which means the one that was fitted."""
    frame = pd.DataFrame({"city": pd.Series(["x", "y", None, "z"] * 10, dtype=object)})
    encoder = OneHotEncoder(handle_unknown="ignore").fit(frame)
    model = randomized(ClassificationModel(4, [8], 1)).eval()
    save_bundle(tmp_path / "b", model, features=["city"], task=Regression(), scaler=encoder, sample=frame)
    got = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.table({"city": ["x", None, "z", "w"]}))
    prepared = encoder.transform(pd.DataFrame({"city": pd.Series(["x", None, "z", "w"], dtype=object)})).toarray()
    with torch.no_grad():
        expected = model(torch.tensor(prepared, dtype=torch.float32))[:, 0]
    np.testing.assert_allclose(got["prediction"].to_numpy(), expected, atol=1e-6)


def test_onnx_with_its_weights_elsewhere_is_refused(tmp_path: Path) -> None:
    """No digest would cover the other file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Linear(2, 300), nn.Linear(300, 1))  # small weights stay in the file
        program = torch.onnx.export(model, (torch.zeros(3, 2),), dynamo=True, verbose=False)
        program.save(str(tmp_path / "m.onnx"), external_data=True)
    with pytest.raises(BundleError, match="external_data=False"):
        save_bundle(tmp_path / "b", tmp_path / "m.onnx", features=["a", "b"], task=Regression(), sample=FRAME)


def test_a_probability_from_a_file_is_not_taken_for_a_logit(tmp_path: Path) -> None:
    """If there is no graph to inspect, the sample shows it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()), torch.zeros(3, 2)).save(str(tmp_path / "m.pt"))
    with pytest.raises(BundleError, match="set outputs to 'probabilities'"):
        save_bundle(tmp_path / "b", tmp_path / "m.pt", features=["a", "b"], task=Binary([0, 1]), sample=FRAME)


def test_a_reshape_ends_what_is_known_of_indices(tmp_path: Path) -> None:
    """A column that is not an index is not compared with the range of an embedding."""

    class Reshaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x.reshape(-1, 2, 1)[:, 1].long()).reshape(-1, 1) + x[:, :1]

    frame = pd.DataFrame({"a": [9.0, 8.0, 7.0], "b": [0.0, 3.0, 1.0]})
    save_bundle(tmp_path / "b", Reshaped(), features=["a", "b"], task=Regression(), sample=frame)
    assert len(Scorer.load(tmp_path / "b", device="cpu").score_frame(frame)) == 3


def test_onnx_takes_a_dict_too(tmp_path: Path, towers: TwoTowers, scaler: StandardScaler) -> None:
    """By the names of the file's inputs."""
    numbers = torch.tensor(scaler.transform(FRAME[["a", "b"]]), dtype=torch.float32)
    codes = torch.tensor(FRAME[["city"]].map(CITIES.index).to_numpy())
    path = exported(towers, "onnx", tmp_path, (numbers[:5], codes[:5]), ["numbers", "codes"])
    save_bundle(
        tmp_path / "b",
        Model(path, call="dict"),
        inputs={"numbers": Table(["a", "b"]), "codes": Table(["city"], vocabularies={"city": CITIES})},
        task=Binary([0, 1]),
        scaler=scaler,
        sample=FRAME,
    )
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(FRAME)["probability"]
    with torch.no_grad():
        expected = torch.softmax(towers(numbers, codes)[0], dim=1)[:, 1]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
