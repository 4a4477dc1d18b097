"""Hidden layers beside the predictions: every intermediate result of a network, from the graph as saved."""

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
    """Layers, functions, a layer that runs twice, in-place activations."""

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
    """In order, with the shape of its result; as text and as JSON."""
    shown = scoreline("layers", files / "b")
    assert shown.code == 0
    (listed,) = json.loads(scoreline("layers", files / "b", "--json").out)
    assert [(one["calls"], one["shape"]) for one in listed] == [
        ("first", [8]), ("act", [8]), ("norm", [8]), ("drop", [8]), ("again", [8]), ("tanh", [8]), ("again", [8]),
        ("add", [8]), ("last", [2]),
    ]  # fmt: skip
    assert all(one["name"] in shown.out for one in listed)


def test_before_and_after_the_activation(files: Path, scoreline: Command) -> None:
    """z before ReLU overwrites it, a, and the result of BatchNorm; resumed and verified like any run."""
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


def test_hidden_values_stay_with_their_rows(files: Path, scoreline: Command) -> None:
    """Rejected rows do not shift the values of other rows."""
    rows = X.assign(id=np.arange(len(X)))
    rows.loc[[0, 7, 499], "a"] = np.nan
    rows.to_parquet(files / "bad.parquet", index=False)
    words = ["score", "--bundle", files / "b", "--input", files / "bad.parquet", "--output", files / "out"]
    assert scoreline(*words, "--hidden", "act", "--max-rejects", "5").code == 0
    table = pq.read_table(files / "out" / "bad.parquet")
    wanted = by_hand(trained())["a"][table["id"].to_numpy()]
    np.testing.assert_allclose(np.stack(table["hidden_act"].to_numpy()), wanted, atol=1e-5)


def test_an_ensemble_has_one_column_per_member(tmp_path: Path) -> None:
    """The column's name ends with the member's number; in Python as well."""
    models = [trained(), trained()]
    with torch.no_grad():
        models[1].first.weight *= 2
    save_bundle(tmp_path / "b", Ensemble(models), features=NAMES, task=Binary(["n", "y"]), sample=X)
    scorer = Scorer.load(tmp_path / "b", device="cpu", hidden=["first"])
    batch = pa.RecordBatch.from_pandas(X, preserve_index=False)
    (block,) = scorer.score_batches([batch], options=ColumnOptions(hidden=("first",)))
    for number, model in enumerate(models):
        got = np.stack(block.rows.column(f"hidden_first_{number}").to_numpy(zero_copy_only=False))
        np.testing.assert_allclose(got, by_hand(model)["z"], atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"), [("firt", "did you mean first"), ("first.0", "is not a layer"), ("", "is not a layer")]
)
def test_unknown_layers_are_refused(files: Path, scoreline: Command, layer: str, message: str) -> None:
    """Before the first row, with a suggestion of similar names."""
    words = ["score", "--bundle", files / "b", "--input", files / "in.parquet", "--output", files / "out"]
    result = scoreline(*words, "--hidden", layer)
    assert result.code == 2
    assert message in result.message
    assert not (files / "out").exists()


def test_models_that_are_code_have_no_layer_names(tmp_path: Path, scoreline: Command) -> None:
    """`score --hidden` is refused, and `layers` explains why."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but still in use
        torch.jit.trace(trained(), torch.zeros(3, 6)).save(str(tmp_path / "m.pt"))
        save_bundle(tmp_path / "b", tmp_path / "m.pt", features=NAMES, task=Binary(["n", "y"]), sample=X)
    X.to_parquet(tmp_path / "in.parquet", index=False)
    digest = scoreline("score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output",
                       tmp_path / "o", "--hidden", "first")  # fmt: skip
    assert "models kept as data" in digest.message
    assert "its layers have no names" in scoreline("layers", tmp_path / "b").out
