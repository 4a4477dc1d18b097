"""`calibrate`, compared with scikit-learn on the same rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.errors import OutputError, PartitionError, UsageError
from scoreline.pipeline.evaluation.calibrate import calibrate
from scoreline.pipeline.monitoring.layout import open_layout
from scoreline.pipeline.options import ScoreJob
from sklearn import metrics as skm
from torch import nn

from conftest import Result
from labelled_rows import NAMES, X, data, net
from scoreline import Binary, Ensemble, Multiclass, Multilabel, Regression, Scorer, save_bundle

Command = Callable[..., Result]


def raw(model: nn.Module, frame: pd.DataFrame) -> np.ndarray:
    with torch.no_grad():
        out: np.ndarray = model(torch.from_numpy(frame.to_numpy(np.float32).copy())).double().numpy()
    return out


def calibrated_by_sklearn(scores: np.ndarray, truth: np.ndarray, method: str) -> Any:
    from sklearn.calibration import _SigmoidCalibration, _TemperatureScaling

    return (_SigmoidCalibration() if method == "platt" else _TemperatureScaling()).fit(scores, truth)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_calibrating_a_binary_bundle(tmp_path: Path, scoreline: Command, suffix: str) -> None:
    """Platt's parameters equal scikit-learn's; the new bundle passes `check`, and the old one is unchanged."""
    model = net(1)
    labelled = data(3000, 5)
    z = raw(model, labelled)[:, 0]
    truth = np.random.default_rng(6).random(3000) < 1 / (1 + np.exp(-(0.4 * z - 0.7)))
    save_bundle(tmp_path / "b", model, features=NAMES, task=Binary(["no", "yes"]), sample=X)
    frame = labelled.assign(y=np.where(truth, "yes", "no"))
    file = tmp_path / f"labelled.{suffix}"
    frame.to_parquet(file, index=False) if suffix == "parquet" else frame.to_csv(file, index=False)
    itself = scoreline("calibrate", "--bundle", tmp_path / "b", "--input", file, "--label", "y", tmp_path / "b")
    assert (itself.code, "pass another folder" in itself.message) == (2, True), itself.err
    result = scoreline("calibrate", "--bundle", tmp_path / "b", "--input", file, "--label", "y", tmp_path / "c")
    assert result.code == 0, result.err
    calibrator = calibrated_by_sklearn(z, truth, "platt")
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(X)
    np.testing.assert_allclose(got["probability"], calibrator.predict(raw(model, X)[:, 0]), atol=2e-5)
    assert (got["prediction"] == np.where(got["probability"] > 0.5, "yes", "no")).all()
    picture = (tmp_path / "c.svg").read_text()
    assert picture.startswith("<svg")
    assert "before" in picture
    error = [float(line.split()[-k]) for line in result.out.splitlines() if "calibration error" in line for k in (2, 1)]
    assert error[1] < error[0] / 3
    assert scoreline("check", "--bundle", tmp_path / "c").code == 0
    assert scoreline("check", "--bundle", tmp_path / "b").code == 0


def test_calibrating_classes(tmp_path: Path, scoreline: Command) -> None:
    """The temperature equals scikit-learn's; predictions do not change."""
    model = net(4)
    labelled = data(3000, 5)
    z = raw(model, labelled)
    p = np.exp(z / 2.5) / np.exp(z / 2.5).sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) > np.random.default_rng(6).random((3000, 1))).argmax(axis=1)
    save_bundle(tmp_path / "b", model, features=NAMES, task=Multiclass(list("wxyz")), sample=X)
    labelled.assign(y=np.array(list("wxyz"))[truth]).to_parquet(tmp_path / "l.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c", "--json"]
    result = scoreline("calibrate", *words)
    assert result.code == 0, result.err
    report = json.loads(result.out)
    calibrator = calibrated_by_sklearn(z, truth, "temperature")
    columns = [f"probability_{label}" for label in "wxyz"]
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(X)
    np.testing.assert_allclose(got[columns], calibrator.predict(raw(model, X)), atol=1e-4)
    before = Scorer.load(tmp_path / "b", device="cpu").score_frame(X)
    assert (got["prediction"] == before["prediction"]).all()
    assert report["after"]["calibration_error"] < report["before"]["calibration_error"] / 3
    assert report["after"]["log_loss"] < report["before"]["log_loss"]


def test_calibrating_a_multilabel_head_of_several_heads(tmp_path: Path, scoreline: Command) -> None:
    """Platt for each label, as in scikit-learn; the other head is unchanged."""
    torch.manual_seed(0)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tags, self.size = nn.Linear(6, 2), nn.Linear(6, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return 3 * self.tags(x), self.size(x)

    model = Two().eval()
    heads = {"tags": Multilabel(["p", "q"], output=0), "size": Regression(output=1)}
    save_bundle(tmp_path / "b", model, features=NAMES, task=heads, sample=X)
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
    for index, label in enumerate("pq"):
        calibrator = calibrated_by_sklearn(z[:, index], truth[:, index], "platt")
        np.testing.assert_allclose(
            got[f"tags_probability_{label}"], calibrator.predict(wanted[0].double().numpy()[:, index]), atol=2e-5
        )
    np.testing.assert_allclose(got["size_prediction"], wanted[1][:, 0], rtol=1e-5, atol=1e-6)


def test_an_ensemble_is_calibrated_as_one(tmp_path: Path, scoreline: Command) -> None:
    """The members' mean probability is calibrated."""
    models = [net(3), net(3, 5.0)]
    save_bundle(tmp_path / "b", Ensemble(models), features=NAMES, task=Multiclass(list("xyz")), sample=X)
    labelled = data(2000, 5)

    def mean(frame: pd.DataFrame) -> np.ndarray:
        each = [np.exp(raw(m, frame)) for m in models]
        return np.asarray(np.log(np.mean([e / e.sum(axis=1, keepdims=True) for e in each], axis=0)))

    truth = np.random.default_rng(6).integers(0, 3, 2000)
    truth[::2] = mean(labelled).argmax(axis=1)[::2]
    labelled.assign(y=np.array(list("xyz"))[truth]).to_parquet(tmp_path / "l.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c"]
    assert scoreline("calibrate", *words).code == 0
    calibrator = calibrated_by_sklearn(mean(labelled), truth, "temperature")
    got = Scorer.load(tmp_path / "c", device="cpu").score_frame(X)
    np.testing.assert_allclose(
        got[["probability_x", "probability_y", "probability_z"]], calibrator.predict(mean(X)), atol=1e-4
    )


def test_what_cannot_be_calibrated(tmp_path: Path, scoreline: Command) -> None:
    """A regression, the wrong method, unknown labels, rows with only one label."""
    X.assign(y="x", w="what", n=1.0).to_parquet(tmp_path / "l.parquet", index=False)
    save_bundle(tmp_path / "r", net(1), features=NAMES, task=Regression(), sample=X)
    save_bundle(tmp_path / "m", net(3), features=NAMES, task=Multiclass(list("xyz")), sample=X)
    save_bundle(tmp_path / "b", net(1), features=NAMES, task=Binary(list("xy")), sample=X)
    for bundle, words, message in (
        ("r", ["--label", "n"], "returns no probabilities"),
        ("m", ["--label", "y", "--method", "platt"], "multiclass takes a temperature"),
        ("m", ["--label", "w"], "contains 'what', which is not a label"),
        ("m", ["--label", "gone"], "l.parquet: column 'gone' is missing; the columns are"),
        ("m", ["--label", "y", "--label", "w"], "takes 1 --label"),
        ("b", ["--label", "y"], "that every row has, or that no row has, cannot be calibrated"),
    ):
        result = scoreline(
            "calibrate", "--bundle", tmp_path / bundle, "--input", tmp_path / "l.parquet", *words, tmp_path / "c"
        )
        assert result.code in (2, 65)
        assert message in result.message, result.err
        assert not (tmp_path / "c").exists()


def test_the_row_of_a_bad_label_is_named(tmp_path: Path, scoreline: Command) -> None:
    """The row of the file, after a row that is rejected, and in a later block."""
    labels = np.tile(np.array(["x", "y"], dtype=object), 20_000)
    labels[33_000] = "what"
    rows = X.iloc[np.arange(len(labels)) % len(X)].reset_index(drop=True).assign(y=labels)
    rows.loc[7, NAMES[0]] = np.nan
    rows.to_parquet(tmp_path / "l.parquet", index=False)
    save_bundle(tmp_path / "b", net(1), features=NAMES, task=Binary(list("xy")), sample=X)
    result = scoreline(
        "calibrate", "--bundle", tmp_path / "b", "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c"
    )
    assert result.code == 65
    assert "l.parquet: row 33000: label column 'y' contains 'what', which is not a label" in result.message


def test_saturated_probabilities_can_be_calibrated(tmp_path: Path, scoreline: Command) -> None:
    """A sigmoid that rounds to 0 or 1 in float32 is fitted and applied in the same way."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()).eval()
    with torch.no_grad():
        model[0].weight *= 12
    labelled = data(3000, 5)
    with torch.no_grad():
        z = model[0](torch.from_numpy(labelled.to_numpy(np.float32).copy())).double().numpy()[:, 0]
    truth = np.random.default_rng(6).random(3000) < 1 / (1 + np.exp(-z / 6))
    save_bundle(tmp_path / "b", model, features=NAMES, task=Binary([0, 1], outputs="probabilities"), sample=X)
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


def test_inverted_labels_and_votes_are_refused(tmp_path: Path, scoreline: Command) -> None:
    """Predictions would be inverted, and shares of votes are not probabilities."""
    model = net(1)
    flipped = X.assign(y=np.where(raw(model, X)[:, 0] < 0, "yes", "no"))
    flipped.to_parquet(tmp_path / "l.parquet", index=False)
    save_bundle(tmp_path / "b", model, features=NAMES, task=Binary(["no", "yes"]), sample=X)
    save_bundle(
        tmp_path / "v",
        Ensemble([net(1), net(1, 5.0)], combine="vote"),
        features=NAMES,
        task=Binary(["no", "yes"]),
        sample=X,
    )
    for bundle, message in (("b", "the labels contradict the scores"), ("v", "that votes returns shares")):
        words = ["--bundle", tmp_path / bundle, "--input", tmp_path / "l.parquet", "--label", "y", tmp_path / "c"]
        assert message in scoreline("calibrate", *words).message


class Sums(nn.Module):
    """The log-odds of each head: the sum of the features, which is NaN above a thousand."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        total = x.sum(dim=1, keepdim=True)
        odds = torch.where(total > 1000, torch.nan, total)
        return {"a": odds, "b": -odds}


@pytest.fixture
def two_heads(tmp_path: Path) -> Path:
    """A bundle with two binary heads."""
    tasks = {name: Binary(["no", "yes"], output=name) for name in "ab"}
    save_bundle(tmp_path / "b", Sums(), features=NAMES, task=tasks, sample=X)
    return tmp_path / "b"


def job(bundle: Path, data: Path) -> ScoreJob:
    """What is used of a job."""
    return ScoreJob(bundle=str(bundle), input=str(data), output="", run_id="", device="cpu")


def labelled_rows(rows: int = 400) -> pd.DataFrame:
    """Rows with labels that follow the sum of the features, at another slope."""
    frame = data(rows, 5)
    odds = frame[NAMES].to_numpy().sum(axis=1) / 3
    return frame.assign(y=np.where(np.random.default_rng(1).random(rows) < 1 / (1 + np.exp(-odds)), "yes", "no"))


def test_rows_that_are_skipped(two_heads: Path, tmp_path: Path) -> None:
    """Without a label, rejected, or without a score: the others keep their labels, and are fitted alone."""
    frame = labelled_rows()
    frame.loc[[0, 7], "y"] = None
    frame.loc[[3, 9, 200], NAMES[0]] = np.nan
    frame.loc[50, NAMES[0]] = 5000.0
    frame.to_parquet(tmp_path / "l.parquet", index=False)
    seen: list[int] = []
    found = calibrate(job(two_heads, tmp_path / "l.parquet"), ["y"], str(tmp_path / "c"), head="a", advance=seen.append)
    assert (found.rows, found.skipped, sum(seen)) == (394, 6, 400)
    kept = frame.drop([0, 7, 3, 9, 200, 50])
    odds = kept[NAMES].to_numpy(np.float32).sum(axis=1).astype(np.float64)
    theirs = calibrated_by_sklearn(odds, (kept["y"] == "yes").to_numpy(), "platt")
    assert found.numbers == f"slope {-theirs.a_:.4g} intercept {-theirs.b_:.4g}"


def test_a_head_without_probabilities(tmp_path: Path) -> None:
    """Is named as such: it exists."""
    labelled_rows().to_parquet(tmp_path / "l.parquet", index=False)
    tasks = {"a": Binary(["no", "yes"], output="a"), "b": Regression(output="b")}
    save_bundle(tmp_path / "b", Sums(), features=NAMES, task=tasks, sample=X)
    with pytest.raises(UsageError, match="'b' returns no probabilities to calibrate; --head must be one of a"):
        calibrate(job(tmp_path / "b", tmp_path / "l.parquet"), ["y"], str(tmp_path / "c"), head="b")


def test_one_of_two_heads(two_heads: Path, tmp_path: Path) -> None:
    """The other keeps its probabilities; without a name, it is not known which is meant."""
    labelled_rows().to_parquet(tmp_path / "l.parquet", index=False)
    given = job(two_heads, tmp_path / "l.parquet")
    with pytest.raises(UsageError, match="--head must be one of a, b"):
        calibrate(given, ["y"], str(tmp_path / "c"))
    found = calibrate(given, ["y"], str(tmp_path / "c"), head="a")
    before, after = (Scorer.load(path, device="cpu").score_frame(X) for path in (two_heads, tmp_path / "c"))
    assert (before["b_probability"] == after["b_probability"]).all()
    assert (before["a_probability"] != after["a_probability"]).any()
    assert found.after.log_loss < found.before.log_loss
    layouts = [open_layout(open_bundle(path)) for path in (two_heads, tmp_path / "c")]
    outputs = [[column.name for column in one.reference.outputs] for one in layouts if one is not None]
    assert outputs[1] == [name for name in outputs[0] if not name.startswith("a_")]  # theirs have changed
    assert len(outputs[1]) < len(outputs[0])


@pytest.mark.parametrize("kind", ["the same", "a link", "a file"])
def test_where_it_cannot_be_written(two_heads: Path, tmp_path: Path, kind: str) -> None:
    """Is known before a row is read."""
    out = tmp_path / "c"
    if kind == "a link":
        out.symlink_to(two_heads)
    elif kind == "a file":
        out.write_text("mine")
    else:
        out = two_heads
    with pytest.raises(OutputError if kind == "a file" else UsageError):
        calibrate(job(two_heads, tmp_path / "gone.parquet"), ["y"], str(out), head="a")


def test_a_file_that_cannot_be_read(two_heads: Path, tmp_path: Path) -> None:
    """Its rows would be left out silently."""
    (tmp_path / "data").mkdir()
    labelled_rows().to_parquet(tmp_path / "data" / "a.parquet", index=False)
    (tmp_path / "data" / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(PartitionError, match=r"^b\.parquet: "):
        calibrate(job(two_heads, tmp_path / "data"), ["y"], str(tmp_path / "c"), head="a")
    assert not (tmp_path / "c").exists()
