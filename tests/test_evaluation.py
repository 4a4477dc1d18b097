"""Evaluation and calibration from the command, against scikit-learn on the same rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.evaluation.metrics import Ranking, RegressionMetrics
from sklearn import metrics as skm
from torch import nn

from conftest import Result
from scoreline import Scorer, save_bundle

Command = Callable[..., Result]
NAMES = list("abcdef")


def data(rows: int, seed: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, 6)), columns=NAMES)


X = data(400, 0)


def net(width: int, scale: float = 3.0) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, width)).eval()
    with torch.no_grad():
        model[2].weight *= scale
    return model


def raw(model: nn.Module, frame: pd.DataFrame) -> np.ndarray:
    with torch.no_grad():
        out: np.ndarray = model(torch.from_numpy(frame.to_numpy(np.float32).copy())).double().numpy()
    return out


def run(scoreline: Command, folder: Path, frame: pd.DataFrame, *words: str) -> pd.DataFrame:
    """Score the frame in three parts, and read the output back."""
    (folder / "in").mkdir(exist_ok=True)
    frame.to_parquet(folder / "in" / "a.parquet", index=False)
    result = scoreline("score", "--bundle", folder / "b", "--input", folder / "in", "--output", folder / "out",
                       "--split-rows", str(len(frame) // 3 + 1), *words)  # fmt: skip
    assert result.code == 0, result.err
    return pd.concat([pq.read_table(f).to_pandas() for f in sorted((folder / "out").glob("*.parquet"))])


def evaluated(scoreline: Command, folder: Path, *words: str) -> dict[str, Any]:
    result = scoreline("evaluate", folder / "out", *words, "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True], ["x", "y", "z"], [10, 20, 30, 40]])
def test_classes(tmp_path: Path, scoreline: Command, labels: list[Any]) -> None:
    """Every measure, with labels of every type, some of them missing."""
    width = 1 if len(labels) == 2 else len(labels)
    save_bundle(
        tmp_path / "b", net(width), features=NAMES, sample=X, labels=labels,
        task="binary" if width == 1 else "multiclass",
    )  # fmt: skip
    draw = np.random.default_rng(3)
    places = draw.integers(0, len(labels), len(X))
    truth: pd.Series[Any] = pd.Series([labels[at] for at in places], dtype=object)
    truth[draw.random(len(X)) < 0.1] = None
    got = run(scoreline, tmp_path, X.assign(y=truth))
    found = evaluated(scoreline, tmp_path, "--label", "y")
    known = truth.notna().to_numpy()
    assert (found["rows"], found["without_label"]) == (known.sum(), (~known).sum())
    right = np.array([labels[at] for at in places])[known]
    predicted = np.array(got["prediction"].tolist())[known]
    assert found["accuracy"] == pytest.approx(skm.accuracy_score(right, predicted))
    np.testing.assert_array_equal(found["confusion"], skm.confusion_matrix(right, predicted, labels=labels))
    f1 = skm.f1_score(right, predicted, labels=labels, average=None)
    np.testing.assert_allclose(list(found["f1"].values()), f1)
    assert found["f1_macro"] == pytest.approx(f1.mean())
    if width == 1:
        p = got["probability"].to_numpy()[known]
        assert found["auc"] == pytest.approx(skm.roc_auc_score(right == labels[1], p), abs=1e-12)
        assert found["log_loss"] == pytest.approx(skm.log_loss(right == labels[1], p), rel=1e-5)
        assert found["brier"] == pytest.approx(skm.brier_score_loss(right == labels[1], p), rel=1e-5)
    else:
        p = got[[f"probability_{label}" for label in labels]].to_numpy()[known]
        p64 = p.astype(np.float64) / p.astype(np.float64).sum(axis=1, keepdims=True)
        assert found["auc"] == pytest.approx(skm.roc_auc_score(right, p64, multi_class="ovr", labels=labels), abs=1e-6)
        assert found["log_loss"] == pytest.approx(skm.log_loss(right, p, labels=labels), rel=1e-5)
        assert found["brier"] == pytest.approx(skm.brier_score_loss(right, p64, labels=labels), rel=1e-5)
    assert found["auc_bound"] == 0
    shown = scoreline("evaluate", tmp_path / "out", "--label", "y")
    assert "accuracy" in shown.out
    assert f"{known.sum():,} rows" in shown.out


def test_multilabel(tmp_path: Path, scoreline: Command) -> None:
    """Each label for itself, and all of them at once."""
    save_bundle(tmp_path / "b", net(3), features=NAMES, sample=X, labels=list("xyz"), task="multilabel")
    truth = np.random.default_rng(3).random((len(X), 3)) < 0.4
    got = run(scoreline, tmp_path, X.assign(x=truth[:, 0], y=truth[:, 1].astype(int), z=truth[:, 2]))
    found = evaluated(scoreline, tmp_path, "--label", "x", "--label", "y", "--label", "z")
    predicted = got[[f"prediction_{label}" for label in "xyz"]].to_numpy()
    assert found["exact_match"] == pytest.approx(skm.accuracy_score(truth, predicted))
    for place, label in enumerate("xyz"):
        p = got[f"probability_{label}"].to_numpy()
        mine = found["labels"][label]
        assert mine["accuracy"] == pytest.approx(skm.accuracy_score(truth[:, place], predicted[:, place]))
        assert mine["f1"]["yes"] == pytest.approx(skm.f1_score(truth[:, place], predicted[:, place]))
        assert mine["auc"] == pytest.approx(skm.roc_auc_score(truth[:, place], p), abs=1e-12)
        assert mine["log_loss"] == pytest.approx(skm.log_loss(truth[:, place], p), rel=1e-5)


def test_regression(tmp_path: Path, scoreline: Command) -> None:
    """Two targets, far from zero."""
    save_bundle(tmp_path / "b", net(2), features=NAMES, sample=X, labels=["u", "v"], task="regression")
    got = run(scoreline, tmp_path, X.assign(u_true=X["a"] + 1e6, v_true=X["b"] * 3), "--prefix", "p_")
    found = evaluated(scoreline, tmp_path, "--label", "u_true", "--label", "v_true")
    for column, truth in (("p_prediction_u", X["a"] + 1e6), ("p_prediction_v", X["b"] * 3)):
        mine = found["targets"][column]
        assert mine["mae"] == pytest.approx(skm.mean_absolute_error(truth, got[column]))
        assert mine["rmse"] == pytest.approx(skm.root_mean_squared_error(truth, got[column]))
        assert mine["r2"] == pytest.approx(skm.r2_score(truth, got[column]), rel=1e-9)


def test_quantiles(tmp_path: Path, scoreline: Command) -> None:
    """The pinball loss of each, and how often it holds."""
    save_bundle(tmp_path / "b", net(2), features=NAMES, sample=X, quantiles=[0.1, 0.9], task="regression")
    got = run(scoreline, tmp_path, X.assign(y=X["a"]))
    found = evaluated(scoreline, tmp_path, "--label", "y")
    for column, quantile in (("prediction_p10", 0.1), ("prediction_p90", 0.9)):
        mine = found["quantiles"][column]
        assert mine["pinball"] == pytest.approx(skm.mean_pinball_loss(X["a"], got[column], alpha=quantile))
        assert mine["coverage"] == pytest.approx((X["a"].to_numpy() <= got[column].to_numpy()).mean())


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_labels_from_another_file(tmp_path: Path, scoreline: Command, suffix: str) -> None:
    """Joined on a key, in any order; what is not there is counted."""
    save_bundle(tmp_path / "b", net(1), features=NAMES, sample=X, labels=["no", "yes"], task="binary")
    got = run(scoreline, tmp_path, X.assign(id=np.arange(len(X)) * 7))
    truth = pd.DataFrame({"id": np.arange(len(X)) * 7, "y": np.where(X["a"] > 0, "yes", "no")})
    part = truth.sample(300, random_state=1)
    file = tmp_path / f"truth.{suffix}"
    part.to_parquet(file, index=False) if suffix == "parquet" else part.to_csv(file, index=False)
    found = evaluated(scoreline, tmp_path, "--label", "y", "--labels", file, "--on", "id")
    assert (found["rows"], found["without_label"]) == (300, 100)
    mine = got.set_index("id").loc[part["id"], "prediction"]
    assert found["accuracy"] == pytest.approx(skm.accuracy_score(part["y"], mine))
    doubled = pd.concat([part, part.head(1)])
    doubled.to_parquet(tmp_path / "doubled.parquet", index=False)
    result = scoreline(
        "evaluate", tmp_path / "out", "--label", "y", "--labels", tmp_path / "doubled.parquet", "--on", "id"
    )
    assert (result.code, "holds a key twice" in result.message) == (65, True)


def test_what_cannot_be_evaluated(tmp_path: Path, scoreline: Command) -> None:
    """Says what is there, and what to do."""
    save_bundle(tmp_path / "b", net(1), features=NAMES, sample=X, labels=["no", "yes"], task="binary")
    run(scoreline, tmp_path, X.assign(y="maybe", n=None))
    for words, says, code in (
        (["--label", "w"], "its keys are y, n", 2),
        (["--label", "y"], "holds 'maybe', which is no label; there are 'no', 'yes'", 65),
        (["--label", "n"], "none of 400 rows has a label", 65),
        (["--label", "y", "--label", "n"], "takes 1 --label", 2),
        (["--label", "y", "--head", "x"], "--head is to name one of output", 2),
        (["--label", "y", "--labels", "f.csv"], "go together", 2),
        (["--label", "y", "--labels", "f.csv", "--on", "y"], "label file f.csv cannot be read: No such file", 66),
    ):
        result = scoreline("evaluate", tmp_path / "out", *words)
        assert (result.code, says in result.message) == (code, True), result.err
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert "is not complete" in scoreline("evaluate", tmp_path / "out", "--label", "y").message
    assert scoreline("evaluate", tmp_path / "nowhere", "--label", "y").code == 66


scores = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60)


@given(scores, st.integers(1, 7))
def test_auc_is_exact_or_within_its_bound(pairs: list[tuple[float, bool]], cut: int) -> None:
    """Batch by batch, ties and all; in bins, the true one lies within what is said."""
    p, y = np.array([a for a, _ in pairs], dtype=np.float32), np.array([b for _, b in pairs])
    exact, coarse = Ranking(), Ranking(exact=3)
    for start in range(0, len(p), cut):
        exact.add(p[start : start + cut], y[start : start + cut])
        coarse.add(p[start : start + cut], y[start : start + cut])
    if len(set(y.tolist())) < 2:
        assert np.isnan(exact.value().value)
        return
    wanted = skm.roc_auc_score(y, p)
    assert exact.value().value == pytest.approx(wanted, abs=1e-12)
    assert abs(coarse.value().value - wanted) <= coarse.value().bound + 1e-12


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=40), st.integers(1, 9))
def test_r2_in_batches(values: list[float], cut: int) -> None:
    """As scikit-learn has it on all rows at once."""
    truth = np.array(values)
    predicted = truth * 0.9 + 1
    mine = RegressionMetrics()
    for start in range(0, len(truth), cut):
        mine.add(truth[start : start + cut], predicted[start : start + cut])
    assert mine.mae == pytest.approx(skm.mean_absolute_error(truth, predicted), rel=1e-9)
    if np.ptp(truth) > 1e-3:
        assert mine.r2 == pytest.approx(skm.r2_score(truth, predicted), rel=1e-6, abs=1e-6)


def calibrated_by_sklearn(scores: np.ndarray, truth: np.ndarray, method: str) -> Any:
    from sklearn.calibration import _SigmoidCalibration, _TemperatureScaling

    return (_SigmoidCalibration() if method == "platt" else _TemperatureScaling()).fit(scores, truth)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_calibrating_a_binary_bundle(tmp_path: Path, scoreline: Command, suffix: str) -> None:
    """Platt's numbers as scikit-learn fits them; the new bundle is scored by the command, labels and order stay."""
    model = net(1)
    labelled = data(3000, 5)
    z = raw(model, labelled)[:, 0]
    truth = np.random.default_rng(6).random(3000) < 1 / (1 + np.exp(-(0.4 * z - 0.7)))
    save_bundle(tmp_path / "b", model, features=NAMES, sample=X, labels=["no", "yes"], task="binary")
    frame = labelled.assign(y=np.where(truth, "yes", "no"))
    file = tmp_path / f"labelled.{suffix}"
    frame.to_parquet(file, index=False) if suffix == "parquet" else frame.to_csv(file, index=False)
    itself = scoreline("calibrate", "--bundle", tmp_path / "b", "--input", file, "--label", "y", tmp_path / "b")
    assert (itself.code, "name another folder" in itself.message) == (2, True), itself.err
    result = scoreline("calibrate", "--bundle", tmp_path / "b", "--input", file, "--label", "y", tmp_path / "c")
    assert result.code == 0, result.err
    theirs = calibrated_by_sklearn(z, truth, "platt")
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(X)
    np.testing.assert_allclose(got["probability"], theirs.predict(raw(model, X)[:, 0]), atol=2e-5)
    assert (got["prediction"] == np.where(got["probability"] > 0.5, "yes", "no")).all()
    picture = (tmp_path / "c.svg").read_text()
    assert picture.startswith("<svg")
    assert "before" in picture
    error = [float(line.split()[-k]) for line in result.out.splitlines() if "calibration error" in line for k in (2, 1)]
    assert error[1] < error[0] / 3
    assert scoreline("check", "--bundle", tmp_path / "c").code == 0
    assert scoreline("check", "--bundle", tmp_path / "b").code == 0


def test_calibrating_classes(tmp_path: Path, scoreline: Command) -> None:
    """The temperature is scikit-learn's; predictions do not move."""
    model = net(4)
    labelled = data(3000, 5)
    z = raw(model, labelled)
    p = np.exp(z / 2.5) / np.exp(z / 2.5).sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) > np.random.default_rng(6).random((3000, 1))).argmax(axis=1)
    save_bundle(tmp_path / "b", model, features=NAMES, sample=X, labels=list("wxyz"), task="multiclass")
    labelled.assign(y=np.array(list("wxyz"))[truth]).to_parquet(tmp_path / "l.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c", "--json"]
    result = scoreline("calibrate", *words)
    assert result.code == 0, result.err
    report = json.loads(result.out)
    theirs = calibrated_by_sklearn(z, truth, "temperature")
    columns = [f"probability_{label}" for label in "wxyz"]
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(X)
    np.testing.assert_allclose(got[columns], theirs.predict(raw(model, X)), atol=1e-4)
    before = Scorer.load(tmp_path / "b", device="cpu").score_frame(X)
    assert (got["prediction"] == before["prediction"]).all()
    assert report["after"]["calibration_error"] < report["before"]["calibration_error"] / 3
    assert report["after"]["log_loss"] < report["before"]["log_loss"]


def test_calibrating_many_labels_and_one_of_several_heads(tmp_path: Path, scoreline: Command) -> None:
    """Platt for each label, by scikit-learn; the other head stays as it was."""
    torch.manual_seed(0)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tags, self.size = nn.Linear(6, 2), nn.Linear(6, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return 3 * self.tags(x), self.size(x)

    model = Two().eval()
    heads = {
        "tags": {"task": "multilabel", "labels": ["p", "q"], "output": 0},
        "size": {"task": "regression", "output": 1},
    }
    save_bundle(tmp_path / "b", model, features=NAMES, sample=X, heads=heads)
    labelled = data(3000, 5)
    with torch.no_grad():
        z = model(torch.from_numpy(labelled.to_numpy(np.float32).copy()))[0].double().numpy()
        wanted = model(torch.from_numpy(X.to_numpy(np.float32).copy()))
    truth = np.random.default_rng(6).random((3000, 2)) < 1 / (1 + np.exp(-(0.5 * z + [0.3, -0.3])))
    labelled.assign(p=truth[:, 0], q=truth[:, 1].astype(int)).to_parquet(tmp_path / "l.parquet", index=False)
    result = scoreline("calibrate", "--bundle", tmp_path / "b", "--input", tmp_path / "l.parquet",
                       "--label", "p", "--label", "q", "--head", "tags", tmp_path / "c")  # fmt: skip
    assert result.code == 0, result.err
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(X)
    for place, label in enumerate("pq"):
        theirs = calibrated_by_sklearn(z[:, place], truth[:, place], "platt")
        np.testing.assert_allclose(
            got[f"tags_probability_{label}"], theirs.predict(wanted[0].double().numpy()[:, place]), atol=2e-5
        )
    np.testing.assert_allclose(got["size_prediction"], wanted[1][:, 0], rtol=1e-5, atol=1e-6)


def test_an_ensemble_is_calibrated_as_one(tmp_path: Path, scoreline: Command) -> None:
    """What is fitted is the members' mean probability."""
    models = [net(3), net(3, 5.0)]
    save_bundle(tmp_path / "b", models, features=NAMES, sample=X, labels=list("xyz"), task="multiclass")
    labelled = data(2000, 5)

    def mean(frame: pd.DataFrame) -> np.ndarray:
        each = [np.exp(raw(m, frame)) for m in models]
        return np.asarray(np.log(np.mean([e / e.sum(axis=1, keepdims=True) for e in each], axis=0)))

    truth = np.random.default_rng(6).integers(0, 3, 2000)
    truth[::2] = mean(labelled).argmax(axis=1)[::2]
    labelled.assign(y=np.array(list("xyz"))[truth]).to_parquet(tmp_path / "l.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c"]
    assert scoreline("calibrate", *words).code == 0
    theirs = calibrated_by_sklearn(mean(labelled), truth, "temperature")
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(X)
    np.testing.assert_allclose(
        got[["probability_x", "probability_y", "probability_z"]], theirs.predict(mean(X)), atol=1e-4
    )


def test_what_cannot_be_calibrated(tmp_path: Path, scoreline: Command) -> None:
    """A regression, the wrong method, labels nobody knows, rows that say nothing."""
    X.assign(y="x", w="what", n=1.0).to_parquet(tmp_path / "l.parquet", index=False)
    save_bundle(tmp_path / "r", net(1), features=NAMES, sample=X, task="regression")
    save_bundle(tmp_path / "m", net(3), features=NAMES, sample=X, labels=list("xyz"), task="multiclass")
    save_bundle(tmp_path / "b", net(1), features=NAMES, sample=X, labels=list("xy"), task="binary")
    for bundle, words, says in (
        ("r", ["--label", "n"], "gives no probabilities"),
        ("m", ["--label", "y", "--method", "platt"], "multiclass takes a temperature"),
        ("m", ["--label", "w"], "holds 'what', which is no label"),
        ("m", ["--label", "gone"], "'gone' is missing"),
        ("m", ["--label", "y", "--label", "w"], "takes 1 --label"),
        ("b", ["--label", "y"], "every row has, or none, cannot be calibrated"),
    ):
        result = scoreline(
            "calibrate", "--bundle", tmp_path / bundle, "--input", tmp_path / "l.parquet", *words, tmp_path / "c"
        )
        assert result.code in (2, 65)
        assert says in result.message, result.err
        assert not (tmp_path / "c").exists()


def test_probabilities_that_saturate_are_calibrated_all_the_same(tmp_path: Path, scoreline: Command) -> None:
    """A sigmoid that is 0 or 1 in float32 says as much as its neighbours: what is fitted is what is applied."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()).eval()
    with torch.no_grad():
        model[0].weight *= 12
    labelled = data(3000, 5)
    with torch.no_grad():
        z = model[0](torch.from_numpy(labelled.to_numpy(np.float32).copy())).double().numpy()[:, 0]
    truth = np.random.default_rng(6).random(3000) < 1 / (1 + np.exp(-z / 6))
    save_bundle(tmp_path / "b", model, features=NAMES, sample=X, labels=[0, 1], task="binary", outputs="probabilities")
    labelled.assign(y=truth.astype(int)).to_parquet(tmp_path / "l.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c", "--json"]
    report = json.loads(scoreline("calibrate", *words).out)
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(labelled)["probability"]
    assert report["after"]["log_loss"] == pytest.approx(skm.log_loss(truth, got), rel=1e-3)
    assert report["after"]["log_loss"] < report["before"]["log_loss"]
    assert report["after"]["brier"] < report["before"]["brier"]
    again = json.loads(
        scoreline("calibrate", "--bundle", tmp_path / "c", "--input", tmp_path / "l.parquet", "--label", "y",
                  tmp_path / "d", "--json").out
    )  # fmt: skip
    assert again["before"]["log_loss"] == pytest.approx(report["after"]["log_loss"])


def test_labels_that_run_against_the_scores_and_votes(tmp_path: Path, scoreline: Command) -> None:
    """Are refused: predictions would turn round, and shares of votes are no probabilities."""
    model = net(1)
    flipped = X.assign(y=np.where(raw(model, X)[:, 0] < 0, "yes", "no"))
    flipped.to_parquet(tmp_path / "l.parquet", index=False)
    save_bundle(tmp_path / "b", model, features=NAMES, sample=X, labels=["no", "yes"], task="binary")
    save_bundle(
        tmp_path / "v", [net(1), net(1, 5.0)], features=NAMES, sample=X, labels=["no", "yes"], task="binary",
        combine="vote",
    )  # fmt: skip
    for bundle, says in (("b", "the labels run against the scores"), ("v", "that votes gives shares")):
        words = ["--bundle", tmp_path / bundle, "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c"]
        assert says in scoreline("calibrate", *words).message


@pytest.mark.parametrize(
    ("keys", "theirs"),
    [
        (["007", "010", "100"], "csv"),
        (pd.Categorical(["p", "q", "r"]), "parquet"),
        ([1.0, 2.0, 3.0], "csv"),
        (pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]), "parquet"),
    ],
)
def test_keys_of_every_kind_join(tmp_path: Path, scoreline: Command, keys: Any, theirs: str) -> None:
    """Leading zeros, dictionaries, numbers and dates; a row without a key has no label."""
    save_bundle(tmp_path / "b", net(1), features=NAMES, sample=X, task="regression")
    frame = X.head(4).assign(key=pd.Series([*keys, None], dtype=object if theirs == "csv" else None))
    if isinstance(keys, list) and isinstance(keys[0], float):
        frame["key"] = [*keys, np.nan]
    run(scoreline, tmp_path, frame)
    labels = pd.DataFrame({"key": keys, "y": [1.0, 2.0, 3.0]})
    extra = pd.concat([labels, pd.DataFrame({"key": [None, None], "y": [9.0, 8.0]})]) if theirs == "parquet" else labels
    file = tmp_path / f"y.{theirs}"
    extra.to_csv(file, index=False) if theirs == "csv" else extra.to_parquet(file, index=False)
    found = evaluated(scoreline, tmp_path, "--label", "y", "--labels", file, "--on", "key")
    assert (found["rows"], found["without_label"]) == (3, 1)


@pytest.mark.parametrize("task", ["binary", "regression", "multilabel"])
@pytest.mark.parametrize("column", [["", "1", "0"], [None, 1.0, 0.0], [float("nan"), 1.0, 0.0]])
def test_what_is_missing_is_no_label(tmp_path: Path, scoreline: Command, task: str, column: list[Any]) -> None:
    """A null, NaN, or an empty cell of a CSV."""
    described = {"regression": {}, "binary": {"labels": [0, 1]}, "multilabel": {"labels": ["t"]}}[task]
    save_bundle(tmp_path / "b", net(1), features=NAMES, sample=X, task=task, **described)  # type: ignore[arg-type]
    run(scoreline, tmp_path, X.head(3).assign(y=column))
    found = evaluated(scoreline, tmp_path, "--label", "y")
    assert (found["rows"], found["without_label"]) == (2, 1)


@pytest.mark.parametrize("task", ["binary", "regression", "multilabel"])
@pytest.mark.parametrize("column", [["x", "y", "z"], [[1], [2], [3]], pd.to_datetime(["2026-01-01"] * 3)])
def test_labels_of_no_use_are_named(tmp_path: Path, scoreline: Command, task: str, column: Any) -> None:
    """Text that is no label, lists, dates: an error in a sentence, never a traceback."""
    described = {"regression": {}, "binary": {"labels": [0, 1]}, "multilabel": {"labels": ["t"]}}[task]
    save_bundle(tmp_path / "b", net(1), features=NAMES, sample=X, task=task, **described)  # type: ignore[arg-type]
    run(scoreline, tmp_path, X.head(3).assign(y=column))
    result = scoreline("evaluate", tmp_path / "out", "--label", "y")
    assert result.code == 65, result.err
    assert "label column 'y'" in result.message
    assert "is a prediction" in scoreline("evaluate", tmp_path / "out", "--label", result_column(task)).message


def result_column(task: str) -> str:
    return "prediction_t" if task == "multilabel" else "prediction"
