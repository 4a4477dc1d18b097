"""Saving a bundle: the model is not changed, and models that would be scored incorrectly are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import ColumnError
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

from scoreline import BundleError, GoldenMismatchError, Regression, ScorelineError, Scorer, save_bundle
from six_columns import NAMES, RNG, X, save
from textbook import ClassificationModel, Classifier, Embedded, FlexibleNN, Residual, SingleLayerNN, randomized


def scored(path: Path, X: np.ndarray) -> pd.DataFrame:
    """Scores by Scorer, as a frame."""
    return Scorer.load(path, device="cpu").score_frame(pd.DataFrame(X, columns=NAMES))


def as_float32(X: np.ndarray) -> Tensor:
    return torch.from_numpy(X.astype(np.float32))


def test_textbook_models_of_every_output_shape(tmp_path: Path) -> None:
    """Four model classes, [n] and [n, 1] outputs, binary from two logits, compared with plain torch."""
    with torch.no_grad():
        single = SingleLayerNN(6, 1).eval()
        save(tmp_path / "1", single, task="binary", labels=[0, 1], outputs="probabilities")
        a, z = single(as_float32(X))
        got = scored(tmp_path / "1", X)
        np.testing.assert_allclose(got["probability"], a[:, 0], rtol=0, atol=1e-6)
        assert got["prediction"].tolist() == (a[:, 0] > 0.5).long().tolist()

        save(tmp_path / "1z", single, task="binary", labels=[0, 1], output=1)
        got = scored(tmp_path / "1z", X)
        np.testing.assert_allclose(got["probability"], torch.sigmoid(z[:, 0]), rtol=0, atol=1e-6)

        flexible = FlexibleNN([6, 8, 3], ["relu", "none"]).eval()
        save(tmp_path / "2", flexible)
        got = scored(tmp_path / "2", X)
        raw = flexible(as_float32(X))
        np.testing.assert_allclose(got.filter(like="probability"), torch.softmax(raw, 1), rtol=0, atol=1e-6)
        assert got["prediction"].tolist() == [["x", "y", "z"][n] for n in raw.argmax(1)]

        classifier = Classifier(6, 8, 3).eval()
        save(tmp_path / "3", classifier, outputs="probabilities")
        got = scored(tmp_path / "3", X).filter(like="probability")
        np.testing.assert_allclose(got, classifier(as_float32(X)), rtol=0, atol=1e-6)

        two = randomized(ClassificationModel(6, [8], 2)).eval()
        save(tmp_path / "4", two, task="binary", labels=["no", "yes"])
        got = scored(tmp_path / "4", X)
        np.testing.assert_allclose(got["probability"], torch.softmax(two(as_float32(X)), 1)[:, 1], rtol=0, atol=1e-6)

        flat = Residual(6).eval()
        save(tmp_path / "5", flat, task="regression", labels=None)
        np.testing.assert_allclose(scored(tmp_path / "5", X)["prediction"], flat(as_float32(X)), atol=1e-6)

        several = nn.Linear(6, 2).eval()
        save(tmp_path / "6", several, task="regression", labels=["low", "high"])
        got = scored(tmp_path / "6", X)
        assert list(got.columns) == ["prediction_low", "prediction_high"]
        np.testing.assert_allclose(got, several(as_float32(X)), atol=1e-6)


def test_embedding_model_takes_whole_numbers(tmp_path: Path) -> None:
    """Indices are passed as int64; a fraction is not an index and is a reject."""
    model = Embedded(6, 10).eval()
    whole = RNG.integers(0, 10, size=(20, 6))
    save(tmp_path / "b", model, sample=whole)
    frame = pd.DataFrame(whole, columns=NAMES)
    expected = model(torch.from_numpy(whole)).argmax(1)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    assert scorer.score_frame(frame)["prediction"].tolist() == [["x", "y", "z"][n] for n in expected]
    table = pa.Table.from_pandas(frame.astype(float).assign(b=[0.5, *[1.0] * 19]))
    rows, rejects = scorer.score_table(table, with_rejects=True)
    assert (rows.num_rows, rejects.num_rows) == (19, 1)
    assert rejects["reject"][0].as_py()["stage"] == "scale"
    assert "whole number" in rejects["reject"][0].as_py()["reason"]


def test_the_model_is_not_changed(tmp_path: Path) -> None:
    """Nor are the mode of any module, buffers, attributes and the global random state."""
    model = randomized(ClassificationModel(6, [8], 3)).train()
    model.network[2].eval()  # a frozen BatchNorm in a model that trains
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    attributes = [set(vars(module)) for module in model.modules()]
    rng = torch.get_rng_state()
    save(tmp_path / "b", model)
    assert [module.training for module in model.modules()] == modes
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert scored(tmp_path / "b", X)["prediction"].nunique() > 0


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """A bundle's digest depends only on the model and the arguments."""
    model = ClassificationModel(6, [8], 3)
    assert save(tmp_path / "a", model) == save(tmp_path / "b", model)
    for name in ("bundle.json", "graph.json", "weights.safetensors", "golden.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_bundle_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    """A folder with other files is never replaced."""
    save(tmp_path / "b", nn.Linear(6, 3))
    second = save(tmp_path / "b", nn.Linear(6, 3))
    assert Scorer.load(tmp_path / "b", device="cpu").digest == second
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ScorelineError, match="is not a bundle"):
        save(tmp_path / "mine", nn.Linear(6, 3))
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_numbers_far_from_zero_keep_their_digits(tmp_path: Path) -> None:
    """Mean 1e9, std 1e-3: scaled in float64 until the cast to float32."""
    far = 1e9 + RNG.normal(size=(60, 6)) * 1e-3
    scaler = StandardScaler().fit(far)
    model = ClassificationModel(6, [8], 3).eval()
    save(tmp_path / "b", model, sample=far, scaler=scaler)
    got = scored(tmp_path / "b", far)
    raw = model(as_float32(scaler.transform(far))).detach()
    np.testing.assert_allclose(got.filter(like="probability"), torch.softmax(raw, 1), rtol=0, atol=1e-6)
    assert got["prediction"].tolist() == [["x", "y", "z"][n] for n in raw.argmax(1)]


class Fixed(nn.Module):
    """Returns its input, so that a test can choose the logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1.0


def test_extreme_logits_stay_finite(tmp_path: Path) -> None:
    """Probabilities of very large logits sum to 1; ties are resolved to the first label."""
    save(tmp_path / "b", Fixed(), features=["a", "b", "c"], sample=RNG.normal(size=(5, 3)))
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [5.0, 5.0, 5.0], [3.0, 4.0, 4.0], [-3e38, 0.0, 1.0]])
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(pd.DataFrame(logits, columns=list("abc")))
    probabilities = got.filter(like="probability").to_numpy()
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert got["prediction"].tolist() == ["x", "x", "x", "y", "z"]


class Root(nn.Module):
    """NaN below zero."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)


def test_an_output_that_is_not_finite_is_a_reject(tmp_path: Path) -> None:
    """The row is rejected, the others are not."""
    save_bundle(tmp_path / "b", Root(), features=["a"], task=Regression(), sample=[[1.0], [4.0]])
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    rows, rejects = scorer.score_table(pa.table({"id": [7, 8, 9], "a": [4.0, -1.0, 9.0]}), with_rejects=True)
    assert rows.to_pydict() == {"id": [7, 9], "prediction": [2.0, 3.0]}
    assert rejects.to_pylist() == [
        {
            "id": 8,
            "a": -1.0,
            "reject": {
                "source": "",
                "row_number": 1,
                "stage": "decode",
                "column": "",
                "reason": "the model's output is not finite",
            },
        }
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["x", "y"]}, r"\[40, 3\].*multiclass with 2 labels takes \[rows, 2\]"),
        ({"labels": ["x", "y", "z", "w"]}, "multiclass with 4 labels"),
        ({"task": "binary", "labels": ["x", "y", "z"]}, "labels"),
        ({"labels": ["1", 1, 2]}, "labels must be of one type"),
        ({"labels": ["x", "x", "y"]}, "label 'x' appears twice"),
        ({"task": "ranking"}, "task is 'ranking'"),
        ({"outputs": "probabilities"}, "did you mean 'logits'"),
        ({"sample": X[:, :5]}, r"shape \[40, 5\] for 6 features"),
        ({"sample": pd.DataFrame(X, columns=list("abcdeg"))}, "no column 'f'"),
        ({"sample": X * np.nan}, r"no row of the sample has a value in every feature \(rows: 40\)"),
        ({"sample": pd.DataFrame(X, columns=NAMES).assign(a="text")}, "'a' is text, but is not encoded"),
        ({"features": [*NAMES[:5], "a"]}, "'a'"),
        ({"scaler": MinMaxScaler()}, "not fitted"),
        ({"output": 1}, "returns one tensor"),
        ({"task": "regression", "labels": None}, "regression with 1 target"),
    ],
)
def test_mismatches_are_refused_when_saving(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """With one line, and nothing is written."""
    with pytest.raises(ScorelineError, match=message) as caught:
        save(tmp_path / "b", nn.Linear(6, 3), **changes)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_probabilities_are_not_taken_for_logits(tmp_path: Path) -> None:
    """A model that ends in a softmax is refused with the default outputs."""
    with pytest.raises(BundleError, match="outputs to 'probabilities'"):
        save(tmp_path / "b", Classifier(6, 8, 3))


class TestExpected:
    """Expected predictions from the user detect errors that the model alone cannot show."""

    torch.manual_seed(0)
    model = ClassificationModel(6, [8], 3).eval()
    scaler = StandardScaler().fit(X * 3 + 5)

    def probabilities(self) -> np.ndarray:
        with torch.no_grad():
            return torch.softmax(self.model(as_float32(self.scaler.transform(X))), 1).numpy()

    @pytest.mark.parametrize("kind", ["probabilities", "tensor", "labels", "frame"])
    def test_correct_ones_become_the_golden_columns(self, tmp_path: Path, kind: str) -> None:
        labels = np.array(["x", "y", "z"])[self.probabilities().argmax(1)]
        expected = {
            "probabilities": self.probabilities(),
            "tensor": torch.tensor(self.probabilities(), requires_grad=True),
            "labels": labels,
            "frame": pd.DataFrame({"prediction": labels, "probability_y": self.probabilities()[:, 1]}),
        }[kind]
        save(tmp_path / "b", self.model, scaler=self.scaler, expected=expected)
        scorer = Scorer.load(tmp_path / "b", device="cpu")
        assert scorer.golden is not None
        assert (scorer.golden.source, scorer.golden.rows) == ("expected", 40)

    @pytest.mark.parametrize("skew", ["no scaler", "columns swapped", "labels reordered", "another epoch"])
    def test_mismatches_are_refused(self, tmp_path: Path, skew: str) -> None:
        changes: dict[str, Any] = {"scaler": self.scaler, "expected": self.probabilities()}
        model: nn.Module = self.model
        if skew == "no scaler":
            changes["scaler"] = None
        elif skew == "columns swapped":
            changes["sample"] = pd.DataFrame(X, columns=list("bacdef"))
        elif skew == "labels reordered":
            changes["expected"] = np.array(["y", "x", "z"])[self.probabilities().argmax(1)]
        else:
            model = ClassificationModel(6, [8], 3)
        with pytest.raises(GoldenMismatchError, match=r"column '(prediction|probability_.)'.* row \d+"):
            save(tmp_path / "b", model, **changes)
        assert not list(tmp_path.iterdir())


def test_a_model_saved_in_train_mode_scores_as_in_eval_mode(tmp_path: Path) -> None:
    """Dropout is off; running statistics are used and not updated."""
    model = randomized(ClassificationModel(6, [8], 3)).train()
    save(tmp_path / "b", model)
    assert model.training
    got = scored(tmp_path / "b", X).filter(like="probability")
    with torch.no_grad():
        expected = torch.softmax(model.eval()(as_float32(X)), 1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_a_sample_as_a_dict_of_columns(tmp_path: Path) -> None:
    """As lists or arrays, in any order; the bundle is that of the same table."""
    columns = {"b": [1.0, 2.0, 0.5], "a": np.array([3.0, 1.0, 2.0]), "id": ["x", "y", "z"]}
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    digests = {
        save_bundle(tmp_path / f"b{at}", model, features=["a", "b"], task=Regression(), sample=sample)
        for at, sample in enumerate((columns, pd.DataFrame(columns)))
    }
    assert len(digests) == 1
    with pytest.raises(ColumnError, match="the sample has no column 'c', which is among the features"):
        save_bundle(tmp_path / "c", model, features=["a", "c"], task=Regression(), sample=columns)
