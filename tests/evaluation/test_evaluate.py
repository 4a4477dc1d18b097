"""`evaluate`, compared with scikit-learn on the same rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as skm
from sklearn.preprocessing import StandardScaler

from conftest import Result
from described import save_described
from labelled_rows import NAMES, X, net
from scoreline import Binary, Multilabel, Regression, save_bundle

Command = Callable[..., Result]


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
    """Every metric, with labels of every type, some of them missing."""
    width = 1 if len(labels) == 2 else len(labels)
    save_described(
        tmp_path / "b", net(width), features=NAMES, sample=X, labels=labels,
        task="binary" if width == 1 else "multiclass",
    )  # fmt: skip
    draw = np.random.default_rng(3)
    indices = draw.integers(0, len(labels), len(X))
    truth: pd.Series[Any] = pd.Series([labels[at] for at in indices], dtype=object)
    truth[draw.random(len(X)) < 0.1] = None
    got = run(scoreline, tmp_path, X.assign(y=truth))
    found = evaluated(scoreline, tmp_path, "--label", "y")
    known = truth.notna().to_numpy()
    assert (found["rows"], found["without_label"]) == (known.sum(), (~known).sum())
    right = np.array([labels[at] for at in indices])[known]
    predicted = np.array(got["prediction"].tolist())[known]
    assert found["accuracy"] == pytest.approx(skm.accuracy_score(right, predicted))
    np.testing.assert_array_equal(found["confusion"], skm.confusion_matrix(right, predicted, labels=labels))
    f1 = skm.f1_score(right, predicted, labels=labels, average=None)
    np.testing.assert_allclose(list(found["f1"].values()), f1)
    assert found["f1_macro"] == pytest.approx(skm.f1_score(right, predicted, average="macro"))
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
    """Metrics of each label, and the exact match of all of them."""
    save_bundle(tmp_path / "b", net(3), features=NAMES, task=Multilabel(list("xyz")), sample=X)
    truth = np.random.default_rng(3).random((len(X), 3)) < 0.4
    got = run(scoreline, tmp_path, X.assign(x=truth[:, 0], y=truth[:, 1].astype(int), z=truth[:, 2]))
    found = evaluated(scoreline, tmp_path, "--label", "x", "--label", "y", "--label", "z")
    predicted = got[[f"prediction_{label}" for label in "xyz"]].to_numpy()
    assert found["exact_match"] == pytest.approx(skm.accuracy_score(truth, predicted))
    for index, label in enumerate("xyz"):
        p = got[f"probability_{label}"].to_numpy()
        mine = found["labels"][label]
        assert mine["accuracy"] == pytest.approx(skm.accuracy_score(truth[:, index], predicted[:, index]))
        assert mine["f1"]["yes"] == pytest.approx(skm.f1_score(truth[:, index], predicted[:, index]))
        assert mine["auc"] == pytest.approx(skm.roc_auc_score(truth[:, index], p), abs=1e-12)
        assert mine["log_loss"] == pytest.approx(skm.log_loss(truth[:, index], p), rel=1e-5)
    repeated = scoreline("evaluate", tmp_path / "out", "--label", "x", "--label", "y", "--label", "x")
    assert (repeated.code, "--label 'x' is given twice; pass one column" in repeated.message) == (2, True)


def test_regression(tmp_path: Path, scoreline: Command) -> None:
    """Two targets, far from zero."""
    save_bundle(tmp_path / "b", net(2), features=NAMES, task=Regression(["u", "v"]), sample=X)
    got = run(scoreline, tmp_path, X.assign(u_true=X["a"] + 1e6, v_true=X["b"] * 3), "--prefix", "p_")
    found = evaluated(scoreline, tmp_path, "--label", "u_true", "--label", "v_true")
    for column, truth in (("p_prediction_u", X["a"] + 1e6), ("p_prediction_v", X["b"] * 3)):
        mine = found["targets"][column]
        assert mine["mae"] == pytest.approx(skm.mean_absolute_error(truth, got[column]))
        assert mine["rmse"] == pytest.approx(skm.root_mean_squared_error(truth, got[column]))
        assert mine["r2"] == pytest.approx(skm.r2_score(truth, got[column]), rel=1e-9)


def test_quantiles(tmp_path: Path, scoreline: Command) -> None:
    """The pinball loss and coverage of each."""
    save_bundle(tmp_path / "b", net(2), features=NAMES, task=Regression(quantiles=[0.1, 0.9]), sample=X)
    got = run(scoreline, tmp_path, X.assign(y=X["a"]))
    found = evaluated(scoreline, tmp_path, "--label", "y")
    for column, quantile in (("prediction_p10", 0.1), ("prediction_p90", 0.9)):
        mine = found["quantiles"][column]
        assert mine["pinball"] == pytest.approx(skm.mean_pinball_loss(X["a"], got[column], alpha=quantile))
        assert mine["coverage"] == pytest.approx((X["a"].to_numpy() <= got[column].to_numpy()).mean())


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_labels_from_another_file(tmp_path: Path, scoreline: Command, suffix: str) -> None:
    """Joined by a key, in any order; rows without a label are counted."""
    save_bundle(tmp_path / "b", net(1), features=NAMES, task=Binary(["no", "yes"]), sample=X)
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
    assert (result.code, "contains a key twice" in result.message) == (65, True)


def test_what_cannot_be_evaluated(tmp_path: Path, scoreline: Command) -> None:
    """Errors name the problem, the available names, and what to do."""
    save_bundle(tmp_path / "b", net(1), features=NAMES, task=Binary(["no", "yes"]), sample=X)
    run(scoreline, tmp_path, X.assign(y="maybe", n=None))
    for words, message, code in (
        (["--label", "w"], "its keys are y, n", 2),
        (["--label", "y"], "contains 'maybe', which is not a label; the labels are 'no', 'yes'", 65),
        (["--label", "n"], "no row has a label in 'n' (rows read: 400)", 65),
        (["--label", "y", "--label", "n"], "takes 1 --label", 2),
        (["--label", "y", "--head", "x"], "--head must be one of output", 2),
        (["--label", "y", "--labels", "f.csv"], "must be used together", 2),
        (["--label", "y", "--labels", "f.csv", "--on", "y"], "label file f.csv cannot be read: No such file", 66),
    ):
        result = scoreline("evaluate", tmp_path / "out", *words)
        assert (result.code, message in result.message) == (code, True), result.err
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert "is not complete" in scoreline("evaluate", tmp_path / "out", "--label", "y").message
    assert scoreline("evaluate", tmp_path / "nowhere", "--label", "y").code == 66


@pytest.mark.parametrize("task", ["binary", "regression", "multilabel"])
@pytest.mark.parametrize("bad", ["x", "inf"])
@pytest.mark.parametrize("row", [0, 133, 134, 399])
def test_the_row_of_a_bad_label_is_named(tmp_path: Path, scoreline: Command, task: str, bad: str, row: int) -> None:
    """In the part, or in the file with labels; also where more rows are bad after it."""
    described = {"regression": {}, "binary": {"labels": [0, 1]}, "multilabel": {"labels": ["t"]}}[task]
    save_described(tmp_path / "b", net(1), features=NAMES, sample=X, task=task, **described)  # type: ignore[arg-type]
    truth = np.full(len(X), "1", dtype=object)
    truth[3:9] = ""
    truth[row] = truth[-1] = bad
    run(scoreline, tmp_path, X.assign(y=truth, id=range(len(X))))
    part = scoreline("evaluate", tmp_path / "out", "--label", "y")
    assert part.code == 65
    assert f"a-0000{row // 134}.parquet: row {row % 134}: label column 'y'" in part.message
    file = tmp_path / "truth.csv"
    order = np.random.default_rng(row).permutation(len(X))
    pd.DataFrame({"id": order, "y": np.where(order == row, bad, "1")}).to_csv(file, index=False)
    joined = scoreline("evaluate", tmp_path / "out", "--label", "y", "--labels", file, "--on", "id")
    assert joined.code == 65
    assert f"truth.csv: row {np.argmax(order == row)}: label column 'y'" in joined.message


@pytest.mark.parametrize(
    ("keys", "suffix"),
    [
        (["007", "010", "100"], "csv"),
        (pd.Categorical(["p", "q", "r"]), "parquet"),
        ([1.0, 2.0, 3.0], "csv"),
        (pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]), "parquet"),
    ],
)
def test_keys_of_every_type_join(tmp_path: Path, scoreline: Command, keys: Any, suffix: str) -> None:
    """Leading zeros, dictionaries, numbers and dates; a row without a key has no label."""
    save_bundle(tmp_path / "b", net(1), features=NAMES, task=Regression(), sample=X)
    frame = X.head(4).assign(key=pd.Series([*keys, None], dtype=object if suffix == "csv" else None))
    if isinstance(keys, list) and isinstance(keys[0], float):
        frame["key"] = [*keys, np.nan]
    run(scoreline, tmp_path, frame)
    labels = pd.DataFrame({"key": keys, "y": [1.0, 2.0, 3.0]})
    extra = pd.concat([labels, pd.DataFrame({"key": [None, None], "y": [9.0, 8.0]})]) if suffix == "parquet" else labels
    file = tmp_path / f"y.{suffix}"
    extra.to_csv(file, index=False) if suffix == "csv" else extra.to_parquet(file, index=False)
    found = evaluated(scoreline, tmp_path, "--label", "y", "--labels", file, "--on", "key")
    assert (found["rows"], found["without_label"]) == (3, 1)


@pytest.mark.parametrize("task", ["binary", "regression", "multilabel"])
@pytest.mark.parametrize("column", [["", "1", "0"], [None, 1.0, 0.0], [float("nan"), 1.0, 0.0]])
def test_missing_values_are_not_labels(tmp_path: Path, scoreline: Command, task: str, column: list[Any]) -> None:
    """A null, NaN, or an empty cell of a CSV."""
    described = {"regression": {}, "binary": {"labels": [0, 1]}, "multilabel": {"labels": ["t"]}}[task]
    save_described(tmp_path / "b", net(1), features=NAMES, sample=X, task=task, **described)  # type: ignore[arg-type]
    run(scoreline, tmp_path, X.head(3).assign(y=column))
    found = evaluated(scoreline, tmp_path, "--label", "y")
    assert (found["rows"], found["without_label"]) == (2, 1)


@pytest.mark.parametrize("task", ["binary", "regression", "multilabel"])
@pytest.mark.parametrize("column", [["x", "y", "z"], [[1], [2], [3]], pd.to_datetime(["2026-01-01"] * 3)])
def test_invalid_labels_are_refused(tmp_path: Path, scoreline: Command, task: str, column: Any) -> None:
    """Text that is not a label, lists, dates: an error message, never a traceback."""
    described = {"regression": {}, "binary": {"labels": [0, 1]}, "multilabel": {"labels": ["t"]}}[task]
    save_described(tmp_path / "b", net(1), features=NAMES, sample=X, task=task, **described)  # type: ignore[arg-type]
    run(scoreline, tmp_path, X.head(3).assign(y=column))
    result = scoreline("evaluate", tmp_path / "out", "--label", "y")
    assert result.code == 65, result.err
    assert "label column 'y'" in result.message
    assert "is a prediction" in scoreline("evaluate", tmp_path / "out", "--label", result_column(task)).message


def result_column(task: str) -> str:
    return "prediction_t" if task == "multilabel" else "prediction"


@pytest.mark.parametrize("center", [0.0, 1e8])
def test_flags(tmp_path: Path, scoreline: Command, center: float) -> None:
    """A regression with a threshold is evaluated as two classes, and ranked by its numbers, which float32 may not tell
    apart."""
    scaler = StandardScaler().fit([[center - 1], [center + 1]])
    task = Regression(scaler=scaler, threshold=center + 0.1)
    save_bundle(tmp_path / "b", net(1), features=NAMES, task=task, sample=X)
    draw = np.random.default_rng(3)
    truth = pd.Series(draw.random(len(X)) < 0.3, dtype=object)
    truth[draw.random(len(X)) < 0.1] = None
    got = run(scoreline, tmp_path, X.assign(y=truth))
    found = evaluated(scoreline, tmp_path, "--label", "y")
    known = truth.notna().to_numpy()
    right, flagged = truth[known].astype(bool), got["above_threshold"].to_numpy()[known]
    assert (found["rows"], found["without_label"]) == (known.sum(), (~known).sum())
    np.testing.assert_array_equal(found["confusion"], skm.confusion_matrix(right, flagged))
    np.testing.assert_allclose(list(found["f1"].values()), skm.f1_score(right, flagged, average=None))
    assert found["auc"] == pytest.approx(skm.roc_auc_score(right, got["prediction"].to_numpy()[known]), abs=1e-9)
    assert (found["log_loss"], found["brier"]) == (None, None)
    shown = scoreline("evaluate", tmp_path / "out", "--label", "y").out
    assert "AUC" in shown
    assert "log loss" not in shown


@pytest.mark.parametrize("quantiles", [[], [0.25, 0.75]])
def test_forecasts(tmp_path: Path, scoreline: Command, quantiles: list[float]) -> None:
    """Each column is compared with the label of its target and step."""
    task = Regression(["u", "v"], horizons=["1h", "2h"], quantiles=quantiles)
    save_bundle(tmp_path / "b", net(4 * max(1, len(quantiles))), features=NAMES, task=task, sample=X)
    truths = [f"{target}_{step}" for step in ("1h", "2h") for target in "uv"]
    draw = np.random.default_rng(3).normal(size=(len(X), 4))
    got = run(scoreline, tmp_path, X.assign(**dict(zip(truths, draw.T, strict=True))))
    words = [word for name in truths for word in ("--label", name)]
    found = evaluated(scoreline, tmp_path, *words)
    for at, name in enumerate(truths):
        if not quantiles:
            mae = skm.mean_absolute_error(draw[:, at], got[f"prediction_{name}"])
            assert found["targets"][f"prediction_{name}"]["mae"] == pytest.approx(mae)
        for quantile in quantiles:
            column = f"prediction_{name}_p{quantile * 100:.0f}"
            loss = skm.mean_pinball_loss(draw[:, at], got[column], alpha=quantile)
            assert found["quantiles"][column]["pinball"] == pytest.approx(loss)
