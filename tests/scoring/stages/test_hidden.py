"""Hidden layers beside the predictions: every intermediate of a network, from the graph as it was saved."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.options import ColumnOptions
from torch import Tensor, nn

from conftest import Result
from scoreline import Binary, Ensemble, Scorer, save_bundle

Command = Callable[..., Result]
NAMES = list("abcdef")
X = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 6)), columns=NAMES)


class Net(nn.Module):
    """Layers, functions, a layer that runs twice, activations that write over what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.again = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 8)
        self.act, self.drop, self.last = nn.ReLU(inplace=True), nn.Dropout(0.4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.norm(self.act(self.first(x))))
        h = torch.tanh(self.again(h)) + self.again(h)
        return self.last(h)


def trained() -> Net:
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(64, 6))  # running statistics that are not 0 and 1
    return model.eval()


def by_hand(model: Net) -> dict[str, np.ndarray]:
    with torch.no_grad():
        x = torch.from_numpy(X.to_numpy(np.float32).copy())
        z = nn.functional.linear(x, model.first.weight, model.first.bias)
        a = z.clamp(min=0)
        n = model.norm(a)
        return {"z": z.numpy(), "a": a.numpy(), "n": n.numpy(), "t": torch.tanh(model.again(n)).numpy()}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "b", trained(), features=NAMES, task=Binary(["n", "y"]), sample=X)
    X.assign(id=np.arange(len(X))).to_parquet(tmp_path / "in.parquet", index=False)
    return tmp_path


def test_every_step_is_listed(files: Path, scoreline: Command) -> None:
    """In order, with the shape of what it gives; without importing torch, and as JSON."""
    shown = scoreline("layers", files / "b")
    assert shown.code == 0
    (listed,) = json.loads(scoreline("layers", files / "b", "--json").out)
    assert [(one["calls"], one["shape"]) for one in listed] == [
        ("first", [8]), ("act", [8]), ("norm", [8]), ("drop", [8]), ("again", [8]), ("tanh", [8]), ("again", [8]),
        ("add", [8]), ("last", [2]),
    ]  # fmt: skip
    assert all(one["name"] in shown.out for one in listed)


def test_before_and_after_the_activation(files: Path, scoreline: Command) -> None:
    """z as it was before ReLU wrote over it, a, what BatchNorm makes of it; resumed and verified like any run."""
    words = ["score", "--bundle", files / "b", "--input", files / "in.parquet", "--output", files / "out"]
    layers = ["--hidden", "first", "--hidden", "act", "--hidden", "norm", "--hidden", "tanh"]
    result = scoreline(*words, *layers, "--batch-size", "128", "--split-rows", "300")
    assert result.code == 0, result.err
    table = pa.concat_tables(pq.read_table(f) for f in sorted((files / "out").glob("*.parquet")))
    wanted = by_hand(trained())
    for column, key in (("first", "z"), ("act", "a"), ("norm", "n"), ("tanh", "t")):
        values = table[f"hidden_{column}"]
        assert values.type == pa.list_(pa.float32(), 8)
        np.testing.assert_allclose(np.stack(values.to_numpy()), wanted[key], atol=1e-5)
    assert (np.stack(table["hidden_first"].to_numpy()) < 0).any()
    run = json.loads((files / "out" / "_scoreline" / "run.json").read_text())
    assert run["stages"]["hidden"]["busy_s"] > 0
    assert scoreline("verify", files / "out").code == 0
    assert scoreline(*words, *layers, "--split-rows", "300", "--batch-size", "128").event("nothing_to_do")
    plain = scoreline(*words, "--split-rows", "300")
    assert plain.event("run_started")["to_score"] == {"option hidden changed": 2}
    assert "hidden" not in json.loads((files / "out" / "_scoreline" / "run.json").read_text())["stages"]


def test_rows_that_are_rejected_have_none(files: Path, scoreline: Command) -> None:
    """What is written belongs to its row."""
    rows = X.assign(id=np.arange(len(X)))
    rows.loc[[0, 7, 499], "a"] = np.nan
    rows.to_parquet(files / "bad.parquet", index=False)
    words = ["score", "--bundle", files / "b", "--input", files / "bad.parquet", "--output", files / "out"]
    assert scoreline(*words, "--hidden", "act", "--max-rejects", "5").code == 0
    table = pq.read_table(files / "out" / "bad.parquet")
    wanted = by_hand(trained())["a"][table["id"].to_numpy()]
    np.testing.assert_allclose(np.stack(table["hidden_act"].to_numpy()), wanted, atol=1e-5)


def test_of_every_member(tmp_path: Path) -> None:
    """An ensemble's layers, each with its member's number; and in Python."""
    models = [trained(), trained()]
    with torch.no_grad():
        models[1].first.weight *= 2
    save_bundle(tmp_path / "b", Ensemble(models), features=NAMES, task=Binary(["n", "y"]), sample=X)
    scorer = Scorer.load(tmp_path / "b", device="cpu", hidden=["first"])
    batch = pa.RecordBatch.from_pandas(X, preserve_index=False)
    (block,) = scorer.score_batches([batch], options=ColumnOptions(hidden=("first",)))
    for place, model in enumerate(models):
        got = np.stack(block.rows.column(f"hidden_first_{place}").to_numpy(zero_copy_only=False))
        np.testing.assert_allclose(got, by_hand(model)["z"], atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "says"), [("firt", "did you mean first"), ("first.0", "is not a layer"), ("", "is not a layer")]
)
def test_layers_that_are_not_there(files: Path, scoreline: Command, layer: str, says: str) -> None:
    """Refused before the first row, with what comes close."""
    words = ["score", "--bundle", files / "b", "--input", files / "in.parquet", "--output", files / "out"]
    result = scoreline(*words, "--hidden", layer)
    assert result.code == 2
    assert says in result.message
    assert not (files / "out").exists()


def test_models_that_are_code_have_no_names(tmp_path: Path, scoreline: Command) -> None:
    """And say so."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still what people have
        torch.jit.trace(trained(), torch.zeros(3, 6)).save(str(tmp_path / "m.pt"))
        save_bundle(tmp_path / "b", tmp_path / "m.pt", features=NAMES, task=Binary(["n", "y"]), sample=X)
    X.to_parquet(tmp_path / "in.parquet", index=False)
    digest = scoreline("score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output",
                       tmp_path / "o", "--hidden", "first")  # fmt: skip
    assert "models kept as data" in digest.message
    assert "cannot be named" in scoreline("layers", tmp_path / "b").out
