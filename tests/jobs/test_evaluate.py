"""`scoreline evaluate`: tables and JSON; `evaluation/test_evaluate.py` compares the numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoreline.pipeline.evaluation import metrics
from torch import nn

from conftest import Result
from labelled_rows import NAMES, data, net
from scoreline import Binary, Multiclass, Multilabel, Regression, save_bundle

Command = Callable[..., Result]


@pytest.fixture
def evaluated(scoreline: Command, tmp_path: Path) -> Callable[..., Result]:
    """Save a bundle, score rows with their labels, and evaluate them."""

    def call(model: nn.Module, task: Any, labels: dict[str, Any], *words: str, options: tuple[str, ...] = ()) -> Result:
        frame = data(len(next(iter(labels.values()))), 3)
        if not (tmp_path / "out").exists():
            save_bundle(tmp_path / "b", model, features=NAMES, task=task, sample=data(40, 0))
            frame.assign(**labels).to_parquet(tmp_path / "in.parquet", index=False)
            done = scoreline("score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output",
                             tmp_path / "out", *options)  # fmt: skip
            assert done.code == 0, done.err
        named = [word for name in labels for word in ("--label", name)]
        return scoreline("evaluate", tmp_path / "out", *named, *words)

    return call


def test_two_labels(evaluated: Callable[..., Result]) -> None:
    """Rows and skipped rows, one AUC in the line of the second label, and the confusion matrix."""
    labels = {"y": ["no", "yes", None] * 20}
    found = evaluated(net(1), Binary(["no", "yes"]), labels)
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0] == "binary: 40 rows, 20 without a label skipped"
    report = json.loads(evaluated(net(1), Binary(["no", "yes"]), labels, "--json").out)
    assert (report["task"], report["rows"], report["without_label"]) == ("binary", 40, 20)
    assert sum(map(sum, report["confusion"])) == 40
    assert list(report["auc_by_label"]) == ["yes"]
    assert f"{report['auc']:.4f}" in next(line for line in lines if line.startswith("AUC"))
    assert "actual \\ predicted" in found.out
    assert lines[-2].split() == ["no", *map(str, report["confusion"][0])]
    ((tn, fp), (fn, tp)), f1 = report["confusion"], report["f1"]
    assert [line.split() for line in lines if line.split()[1:2] == ["20"] and "." in line] == [
        ["no", "20", f"{tn + fn}", f"{tn / (tn + fn):.4f}", f"{tn / 20:.4f}", f"{f1['no']:.4f}"],
        [
            "yes",
            "20",
            f"{fp + tp}",
            f"{tp / (fp + tp):.4f}",
            f"{tp / 20:.4f}",
            f"{f1['yes']:.4f}",
            f"{report['auc']:.4f}",
        ],
    ]
    for measure, name in (("accuracy", "accuracy"), ("log loss", "log_loss"), ("Brier score", "brier")):
        assert f"{report[name]:.4f}" in next(line for line in lines if line.startswith(measure))


def test_an_area_that_is_not_exact(evaluated: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has its bound beside it, as in JSON."""
    labels = {"y": ["no", "yes"] * 30}
    assert "within" not in evaluated(net(1), Binary(["no", "yes"]), labels).out
    monkeypatch.setattr(metrics, "EXACT_SCORES", 10)
    monkeypatch.setattr(metrics, "_BIN_BITS", 8)  # so that there are ties
    report = json.loads(evaluated(net(1), Binary(["no", "yes"]), labels, "--json").out)
    assert report["auc_bound"] > 0
    found = evaluated(net(1), Binary(["no", "yes"]), labels)
    assert f"{report['auc']:.4f} (within {report['auc_bound']:.1g})" in found.out


def test_many_labels(evaluated: Callable[..., Result]) -> None:
    """The table ends after 20, in the order of the bundle; JSON has all."""
    labels = {"y": list(range(25)) * 3}
    found = evaluated(net(25), Multiclass(list(range(25))), labels)
    assert found.out.splitlines()[-1] == "and 5 more labels; pass --json for all of them"
    assert "actual \\ predicted" not in found.out
    assert [line.split()[0] for line in found.out.splitlines()[-21:-1]] == [str(label) for label in range(20)]
    report = json.loads(evaluated(net(25), Multiclass(list(range(25))), labels, "--json").out)
    assert len(report["f1"]) == len(report["confusion"]) == 25


def test_twenty_labels(evaluated: Callable[..., Result]) -> None:
    """All are shown, with the confusion matrix."""
    found = evaluated(net(20), Multiclass(list(range(20))), {"y": list(range(20)) * 3})
    assert found.out.splitlines()[-1].split()[0] == "19"
    assert "actual \\ predicted" in found.out
    assert "more labels" not in found.out
    assert "skipped" not in found.out


def test_blank_labels_are_quoted(evaluated: Callable[..., Result]) -> None:
    """They would be invisible, or look like another label."""
    found = evaluated(net(3), Multiclass(["", " a", "a"]), {"y": ["", " a", "a"] * 10})
    assert found.code == 0, found.err
    assert [line.split("  ")[0] for line in found.out.splitlines()[-3:]] == ["''", "' a'", "a"]


def test_without_probabilities(evaluated: Callable[..., Result]) -> None:
    """There are no measures of them, in the table and in JSON."""
    labels = {"y": ["x", "y", "z"] * 10}
    task, options = Multiclass(["x", "y", "z"]), ("--probabilities", "none")
    found = evaluated(net(3), task, labels, options=options)
    assert found.code == 0, found.err
    assert "accuracy" in found.out
    assert "log loss" not in found.out
    report = json.loads(evaluated(net(3), task, labels, "--json").out)
    assert [report[name] for name in ("log_loss", "brier", "auc", "auc_bound")] == [None] * 4


def test_several_labels_per_row(evaluated: Callable[..., Result]) -> None:
    """A line per label, and the share of rows that are right in all of them."""
    rng = np.random.default_rng(0)
    labels = {name: rng.random(30) < 0.5 for name in "uv"}
    found = evaluated(net(2), Multilabel(["u", "v"]), labels)
    assert found.code == 0, found.err
    report = json.loads(evaluated(net(2), Multilabel(["u", "v"]), labels, "--json").out)
    assert f"all labels right in {report['exact_match']:.4f} of the rows" in found.out
    assert [line.split() for line in found.out.splitlines()[-2:]] == [
        [name, f"{sum(labels[name])}", *(f"{number:.4f}" for number in (
            one["accuracy"], one["f1"]["yes"], one["auc"], one["log_loss"], one["brier"],
        ))]
        for name, one in report["labels"].items()
    ]  # fmt: skip
    assert list(report["labels"]) == ["u", "v"]


def test_numbers_that_are_not_finite(evaluated: Callable[..., Result]) -> None:
    """R² of a constant target is not a number, which JSON cannot hold."""
    labels = {"y": [1.5] * 30}
    found = evaluated(net(1), Regression(), labels, "--json")
    assert found.code == 0, found.err
    ((_, measures),) = json.loads(found.out, parse_constant=pytest.fail)["targets"].items()
    assert measures["r2"] is None
    assert measures["mae"] > 0


def test_targets(evaluated: Callable[..., Result]) -> None:
    """The measures of each, by its column; bias is signed."""
    labels = {name: pd.Series(range(30), dtype=float) + far for name, far in (("u", 0), ("v", 100))}
    task = Regression(targets=["u", "v"])
    report = json.loads(evaluated(net(2), task, labels, "--json").out)["targets"]
    assert list(report) == ["prediction_u", "prediction_v"]
    assert report["prediction_v"]["bias"] == pytest.approx(-report["prediction_v"]["mae"])
    lines = [line.split() for line in evaluated(net(2), task, labels).out.splitlines()[-2:]]
    assert lines == [
        [name, f"{one['mae']:.6g}", f"{one['rmse']:.6g}", f"{one['r2']:.4f}", f"{one['bias']:.4g}"]
        for name, one in report.items()
    ]


def test_quantiles(evaluated: Callable[..., Result]) -> None:
    """Coverage and loss of each."""
    found = evaluated(net(2), Regression(quantiles=[0.1, 0.9]), {"y": pd.Series(range(30), dtype=float)})
    assert found.code == 0, found.err
    lines = [line.split() for line in found.out.splitlines()[-2:]]
    assert [line[:2] for line in lines] == [["prediction_p10", "0.1"], ["prediction_p90", "0.9"]]
    given = {"y": pd.Series(range(30), dtype=float)}
    report = json.loads(evaluated(net(2), Regression(quantiles=[0.1, 0.9]), given, "--json").out)["quantiles"]
    assert [line[2:] for line in lines] == [
        [f"{one['coverage']:.4f}", f"{one['pinball']:.6g}"] for one in report.values()
    ]


@pytest.mark.parametrize("words", [["--labels", "truth.parquet"], ["--on", "id"]])
def test_a_file_of_labels_needs_a_key(scoreline: Command, tmp_path: Path, words: list[str]) -> None:
    """And the other way round; checked before the output is read."""
    found = scoreline("evaluate", tmp_path, "--label", "y", *words)
    assert (found.code, "--labels FILE and --on KEY must be used together" in found.message) == (2, True)
