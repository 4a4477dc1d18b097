"""Every task from a saved bundle through the command to Parquet, against torch and scikit-learn by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.options import ColumnOptions
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

from conftest import Result
from scoreline import BundleError, Scorer, save_bundle

Command = Callable[..., Result]
NAMES = list("abcdef")
X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 6)), columns=NAMES)


def net(width: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, width)).eval()


def raw(model: nn.Module, frame: pd.DataFrame = X) -> np.ndarray:
    """The model's own outputs, in float64."""
    with torch.no_grad():
        out: np.ndarray = model.double()(torch.from_numpy(frame.to_numpy(np.float64).copy())).numpy()
    model.float()
    return out


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


@pytest.fixture
def scored(tmp_path: Path, scoreline: Command) -> Callable[..., pd.DataFrame]:
    """Save a bundle (once), score X with more words, read the output back."""

    def call(model: Any, *words: str, frame: pd.DataFrame = X, **described: Any) -> pd.DataFrame:
        if not (tmp_path / "b").exists():
            save_bundle(tmp_path / "b", model, features=NAMES, sample=X, **described)
        frame.assign(id=np.arange(len(frame))).to_parquet(tmp_path / "in.parquet", index=False)
        result = scoreline("score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output",
                           tmp_path / "out", *words)  # fmt: skip
        assert result.code == 0, result.err
        assert scoreline("verify", tmp_path / "out").code == 0
        table: pd.DataFrame = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
        return table

    return call


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True], [-0.5, 2.5]])
def test_binary_with_a_threshold(scored: Callable[..., pd.DataFrame], labels: list[Any]) -> None:
    """The bundle's, then the job's; labels of any type."""
    model = net(1)
    probability = sigmoid(raw(model)[:, 0])
    got = scored(model, task="binary", labels=labels, threshold=0.7)
    np.testing.assert_allclose(got["probability"], probability, atol=1e-6)
    assert got["prediction"].tolist() == [labels[int(p > 0.7)] for p in probability]
    again = scored(model, "--threshold", "0.2")
    assert again["prediction"].tolist() == [labels[int(p > 0.2)] for p in probability]
    assert (again["prediction"] != got["prediction"]).sum() > 0


def test_multilabel(scored: Callable[..., pd.DataFrame]) -> None:
    """A sigmoid and a threshold for each label; the job's own for one of them, or for all."""
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
    """The likeliest labels in order, each with its probability, few labels and many."""
    model = net(classes)
    labels = [f"l{n}" for n in range(classes)]
    outputs = raw(model)
    got = scored(model, "--top-k", "3", "--probabilities", "none", task="multiclass", labels=labels)
    assert list(got.columns) == ["id", "prediction", *(f"top_{k}{s}" for k in (1, 2, 3) for s in ("", "_probability"))]
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :3]
    probabilities = np.take_along_axis(softmax(outputs), order, axis=1)
    for rank in range(3):
        assert got[f"top_{rank + 1}"].tolist() == [labels[place] for place in order[:, rank]]
        np.testing.assert_allclose(got[f"top_{rank + 1}_probability"], probabilities[:, rank], atol=1e-6)
    assert (got["prediction"] == got["top_1"]).all()


class Ties(nn.Module):
    """Logits that are the inputs, some of them minus infinity, as of masked classes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, -torch.inf)


def test_top_k_of_ties_and_masked_labels(tmp_path: Path) -> None:
    """No label twice; of equal ones the lowest first."""
    save_bundle(tmp_path / "b", Ties(), features=NAMES, task="multiclass", labels=NAMES, sample=X.abs() + 0.1)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    rows = pd.DataFrame([[1, 0, 2, 0, 0, 2], [0, 0, 0, 1, 0, 0]], columns=NAMES, dtype=float)
    import pyarrow as pa

    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    (block,) = scorer.score_batches([batch], options=ColumnOptions(top_k=6))
    got = block.rows.to_pandas()[[f"top_{k}" for k in range(1, 7)]].to_numpy()
    assert got.tolist() == [list("cfabde"), list("dabcef")]


def test_regression_of_quantiles(scored: Callable[..., pd.DataFrame]) -> None:
    """In the target's own unit, by scikit-learn's own inverse."""
    model = net(3)
    scaler = StandardScaler().fit(np.random.default_rng(1).normal(50, 9, size=(99, 1)))
    got = scored(model, task="regression", quantiles=[0.1, 0.5, 0.975], target_scaler=scaler)
    assert list(got.columns) == ["id", "prediction_p10", "prediction_p50", "prediction_p97_5"]
    outputs = raw(model)
    for place, name in enumerate(got.columns[1:]):
        np.testing.assert_allclose(got[name], scaler.inverse_transform(outputs[:, [place]])[:, 0], rtol=1e-5)


class TwoOutputs(nn.Module):
    """Means and log-variances of two targets, as a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.log_variance(x)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()])
def test_regression_with_its_spread(scored: Callable[..., pd.DataFrame], scaler: Any) -> None:
    """Mean and standard deviation of two targets, of a model that returns a pair; checked by drawing samples."""
    torch.manual_seed(0)
    model = TwoOutputs().eval()
    scaler.fit(np.random.default_rng(1).normal([50, -3], [9, 2], size=(99, 2)))
    got = scored(
        model, task="regression", labels=["u", "v"], output=[0, 1], spread="log_variance", target_scaler=scaler
    )
    assert list(got.columns) == ["id", "prediction_u", "prediction_v", "prediction_std_u", "prediction_std_v"]
    with torch.no_grad():
        mean, log_variance = (out.double().numpy() for out in model(torch.from_numpy(X.to_numpy(np.float32).copy())))
    np.testing.assert_allclose(got[["prediction_u", "prediction_v"]], scaler.inverse_transform(mean), rtol=1e-5)
    draws = np.random.default_rng(2).normal(size=(20_000, 1, 2)) * np.exp(log_variance[:5] / 2) + mean[:5]
    drawn = scaler.inverse_transform(draws.reshape(-1, 2)).reshape(-1, 5, 2).std(axis=0)
    np.testing.assert_allclose(got[["prediction_std_u", "prediction_std_v"]].head(5), drawn, rtol=0.03)


def test_a_scale_factor(scored: Callable[..., pd.DataFrame]) -> None:
    """A number in place of a scaler: what the target was divided by."""
    model = net(1)
    got = scored(model, task="regression", target_scaler=1000.0)
    np.testing.assert_allclose(got["prediction"], raw(model)[:, 0] * 1000, rtol=1e-5)


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
    "fraud": {"task": "binary", "labels": ["no", "yes"], "output": "fraud", "threshold": 0.6},
    "kind": {"task": "multiclass", "labels": ["x", "y", "z"], "output": "kind"},
    "amount": {"task": "regression", "output": "amount", "target_scaler": 100.0},
}


def test_several_heads(scored: Callable[..., pd.DataFrame]) -> None:
    """Each its own task, its columns under its name; also as an ensemble of two."""
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
    """Classes by their mean probability, the regression by its mean."""
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(Heads().eval())
    save_bundle(tmp_path / "b", models, features=NAMES, sample=X, heads=HEADS)
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(X)
    with torch.no_grad():
        outs = [m(torch.from_numpy(X.to_numpy(np.float32).copy())) for m in models]
    fraud = np.mean([sigmoid(out["fraud"].double().numpy()[:, 0]) for out in outs], axis=0)
    kind = np.mean([softmax(out["kind"].double().numpy()) for out in outs], axis=0)
    amount = np.mean([out["amount"].double().numpy()[:, 0] * 100 for out in outs], axis=0)
    np.testing.assert_allclose(got["fraud_probability"], fraud, atol=1e-6)
    np.testing.assert_allclose(got["kind_probability_z"], kind[:, 2], atol=1e-6)
    np.testing.assert_allclose(got["amount_prediction"], amount, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("action", ["count", "reject"])
def test_bounds_of_a_regression(tmp_path: Path, scoreline: Command, action: str) -> None:
    """Rows beyond are counted, by a resumed run too, or rejected, as the bundle says."""
    model = net(1)
    values = raw(model)[:, 0]
    low, high = np.quantile(values, [0.1, 0.8])
    beyond = (values < low) | (values > high)
    save_bundle(
        tmp_path / "b", model, features=NAMES, sample=X[~beyond], task="regression", bounds=(low, high),
        out_of_bounds=action,
    )  # fmt: skip
    X.assign(id=np.arange(300)).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    for _ in range(2):
        result = scoreline(*words, "--max-rejects", "50%", "--split-rows", "100")
        assert result.code == 0, result.err
        run = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
        kept = pd.concat(pq.read_table(f).to_pandas() for f in sorted((tmp_path / "out").glob("*.parquet")))
        if action == "count":
            assert (run["rows_out_of_bounds"], run["rows_rejected"]) == (beyond.sum(), 0)
            assert len(kept) == 300
        else:
            assert (run["rows_out_of_bounds"], run["rows_rejected"]) == (0, beyond.sum())
            assert kept["id"].tolist() == np.flatnonzero(~beyond).tolist()
        next((tmp_path / "out").glob("*.parquet")).unlink()  # a part is made anew, the others count as they were


class Improper(nn.Module):
    """Probabilities that are none where the first input is large."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x[:, :3], dim=1) * torch.where(x[:, :1] > 5, 2.0, 1.0)


def test_probabilities_that_are_none(tmp_path: Path) -> None:
    """Beyond 1 or not of sum 1: rejected where the bundle says so."""
    save_bundle(
        tmp_path / "b", Improper(), features=NAMES, sample=X, task="multiclass", labels=list("xyz"),
        outputs="probabilities", bounds=True, out_of_bounds="reject",
    )  # fmt: skip
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
        ({"task": "multiclass", "labels": list("xyz")}, ["--top-k", "4"], "of 3 labels; say 1 to 3"),
        ({"task": "multiclass", "labels": list("xyz")}, ["--threshold", "0.4"], "for binary and multilabel"),
        ({"task": "regression", "labels": list("xyz")}, ["--threshold", "0.4"], "the bundle's task is regression"),
        ({"task": "multilabel", "labels": list("xyz")}, ["--top-k", "1"], "the bundle's task is multilabel"),
        ({"task": "multilabel", "labels": list("xyz")}, ["--threshold", "w=0.4"], "say one of x, y, z"),
        ({"task": "multilabel", "labels": list("xyz")}, ["--threshold", "1.4"], "is not a probability"),
    ],
)
def test_wrong_combinations_are_refused(
    tmp_path: Path, scoreline: Command, described: dict[str, Any], words: list[str], says: str
) -> None:
    """Before the first row, saying what is possible."""
    save_bundle(tmp_path / "b", net(3), features=NAMES, sample=X, **described)
    X.to_parquet(tmp_path / "in.parquet", index=False)
    result = scoreline(
        "score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out", *words
    )
    assert result.code == 2
    assert says in result.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"task": "regression", "threshold": 0.5}, "threshold is for binary or multilabel"),
        ({"task": "binary", "labels": [0, 1], "quantiles": [0.5]}, "quantiles is for regression"),
        ({"task": "binary", "labels": [0, 1], "threshold": 1.5}, "threshold"),
        ({"task": "multilabel", "labels": list("xyz"), "threshold": [0.5]}, "1 thresholds for 3 labels"),
        ({"task": "regression", "quantiles": [0.5, 0.1, 0.9]}, "quantiles are to rise"),
        ({"task": "regression", "labels": list("xyz"), "quantiles": [0.1, 0.9]}, "takes"),
        ({"task": "regression", "labels": list("xyz"), "bounds": (3, 1)}, "lies above"),
        ({"task": "multiclass", "labels": list("xyz"), "bounds": (0, 1)}, "say bounds=True"),
        ({"task": "regression", "labels": list("xyz"), "out_of_bounds": "reject"}, "bounds=, which is missing"),
        ({"heads": {"a": {"task": "binary"}}}, "head 'a': binary needs its labels"),
        ({"heads": {"a": {"task": "binary", "label": [0, 1]}}}, "unexpected keyword argument 'label'"),
        ({"heads": {"a": {"task": "regression"}}, "task": "regression"}, "belongs into heads="),
        ({"heads": {}}, "heads is a mapping"),
        ({"task": "ranking"}, "say binary, multiclass, multilabel, regression"),
    ],
)
def test_heads_that_do_not_hold_together(tmp_path: Path, described: dict[str, Any], says: str) -> None:
    """Are refused when saving, in a sentence."""
    with pytest.raises(BundleError) as raised:
        save_bundle(tmp_path / "b", net(3), features=NAMES, sample=X, **described)
    assert says in str(raised.value)


def test_a_job_file_says_the_same(tmp_path: Path, scoreline: Command) -> None:
    """Thresholds and the likeliest labels; the same fingerprint as from the command line."""
    save_bundle(tmp_path / "b", net(3), features=NAMES, sample=X, task="multilabel", labels=list("xyz"))
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


def test_thresholds_reach_no_further_than_their_name(tmp_path: Path, scoreline: Command) -> None:
    """A head called as another head's label, and a label called as a lone head is."""
    torch.manual_seed(0)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p, self.q = nn.Linear(6, 1), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.p(x), self.q(x)

    heads = {
        "p": {"task": "binary", "labels": [0, 1], "output": 0},
        "q": {"task": "multilabel", "labels": ["p", "z"], "output": 1},
    }
    save_bundle(tmp_path / "b", Two().eval(), features=NAMES, sample=X, heads=heads)
    X.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline(*words, "--threshold", "p=0.2", "--threshold", "q.z=0.7").code == 0
    got = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
    assert (got["p_prediction"] == (got["p_probability"] > 0.2)).all()
    assert (got["q_prediction_p"] == (got["q_probability_p"] > 0.5)).all()
    assert (got["q_prediction_z"] == (got["q_probability_z"] > 0.7)).all()
    save_bundle(
        tmp_path / "m", net(2), features=NAMES, sample=X, task="multilabel", labels=["output", "u"],
        threshold=np.array([0.5, 0.4]),
    )  # fmt: skip
    words[2], words[-1] = tmp_path / "m", tmp_path / "out2"
    assert scoreline(*words, "--threshold", "output=0.9").code == 0
    got = pq.read_table(tmp_path / "out2" / "in.parquet").to_pandas()
    assert (got["prediction_u"] == (got["probability_u"] > 0.4)).all()
    assert (got["prediction_output"] == (got["probability_output"] > 0.9)).all()


def test_a_sample_with_rows_out_of_bounds(tmp_path: Path) -> None:
    """They become no golden rows; a bound may be open to one side."""
    values = raw(net(1))[:, 0]
    high = float(np.quantile(values, 0.7))
    save_bundle(
        tmp_path / "b", net(1), features=NAMES, sample=X, task="regression", bounds=(None, high),
        out_of_bounds="reject", expected=values,
    )  # fmt: skip
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    assert scorer.manifest.golden.rows < 256
    rows, rejects = scorer.score_table(pa.Table.from_pandas(X), with_rejects=True)
    assert (rows.num_rows, rejects.num_rows) == ((values <= high).sum(), (values > high).sum())
    with pytest.raises(BundleError, match="every prediction of the sample is out of bounds"):
        save_bundle(
            tmp_path / "c", net(1), features=NAMES, sample=X, task="regression", bounds=(1e6, float("inf")),
            out_of_bounds="reject",
        )  # fmt: skip


def test_numbers_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """A deviation below zero, a factor that would turn quantiles round."""
    for described, says in (
        ({"spread": "std"}, "variance or deviation negative"),
        ({"quantiles": [0.1, 0.9], "target_scaler": -2.0}, "say a number above 0"),
    ):
        with pytest.raises(BundleError, match=says):
            save_bundle(tmp_path / "b", net(2), features=NAMES, sample=X, task="regression", **described)  # type: ignore[arg-type]
    save_bundle(tmp_path / "b", net(1), features=NAMES, sample=X, task="regression", target_scaler=np.float32(2))


def test_members_that_write_over_their_inputs(tmp_path: Path) -> None:
    """Each member of an ensemble has the inputs as they were, and so have hidden layers behind it."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["a", "b"])
    torch.manual_seed(0)
    models = [nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Linear(2, 1)) for _ in range(2)]
    save_bundle(tmp_path / "b", models, features=["a", "b"], sample=frame, task="regression")
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
