"""Errors in specs are one line with the field, the rule and the value; the examples in their docstrings run."""

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoreline.pipeline.errors import UsageError
from scoreline.schemas.specs.inputs import INPUTS
from scoreline.schemas.specs.tasks import TASKS
from sklearn.preprocessing import StandardScaler
from torch import nn

import scoreline
from scoreline import (
    Binary,
    BundleError,
    Ensemble,
    FloatSequence,
    Generation,
    Image,
    Model,
    Multiclass,
    Multilabel,
    Regression,
    Scorer,
    Table,
    Tagging,
    TokenSequence,
    save_bundle,
)

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
LABELS = ["no", "yes"]
#: Words of pydantic, and of Python's own types, that mean nothing to a user.
FOREIGN = ("Input should", "Field required", "validation error", "constrained", "Extra inputs", "pydantic", "union")


def refused(folder: Path, **changes: Any) -> str:
    """The error message of save_bundle, which is one line and leaves no bundle."""
    given: dict[str, Any] = {"features": ["a", "b"], "task": Binary(LABELS), "sample": FRAME, **changes}
    with pytest.raises((BundleError, UsageError)) as caught:
        save_bundle(folder / "b", nn.Linear(2, 1), **given)
    error = str(caught.value)
    assert "\n" not in error
    assert not [word for word in FOREIGN if word in error]
    assert not (folder / "b").exists()
    return error


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Binary(LABELS, threshold=1.3), "task: threshold: 1.3 is not between 0 and 1"),
        ({"fraud": Binary(LABELS, threshold=1.3)}, "task 'fraud': threshold: 1.3 is not between 0 and 1"),
        (Binary(LABELS, threshold="high"), "task: threshold: 'high' is not a number"),
        (Binary(LABELS, threshold=10**400), "task: threshold: the number is too large for a float"),
        (Multilabel(LABELS, threshold={1: 0.2, "1": 0.3}), "task: threshold: a label is named twice"),
        (Multiclass([1.0, float("inf")]), "task: labels: inf is not a label; labels are text, numbers or booleans"),
        ({1: Binary(LABELS), "1": Binary(LABELS)}, "task: 1 is not a name"),
        (Binary(["a", "b", "c"]), "task: labels: binary takes 2 labels, not 3: ['a', 'b', 'c']"),
        (Binary(LABELS, outputs="logit"), "task: outputs: 'logit' is not one of 'logits', 'probabilities'"),
        (Binary(LABELS, output=1.5), "task: output: 1.5 is not the index of an output in a tuple"),
        (Binary(LABELS, bounds=(0, 1)), "task: bounds: [0, 1] is neither true nor false; the bounds"),
        (Binary(LABELS, out_of_bounds="reject"), "task: out_of_bounds: 'reject' has no effect without bounds; set"),
        (Multiclass(["a"]), "task: labels: multiclass takes at least 2, not 1: ['a']"),
        (Multiclass("abc"), "task: labels: 'abc' is not a list; use one, in the order of the model's outputs"),
        (Multiclass(["a", "a"]), "task: label 'a' appears twice"),
        (Multiclass(["a", None]), "task: labels: None is not a label; labels are text, numbers or booleans"),
        (Multilabel(["a", "b"], threshold=[0.5]), "task: threshold: 1 number for 2 labels"),
        (Multilabel(["a", "b"], threshold={"c": 0.5}), "task: threshold: 'c' is not a label; the labels are ['a',"),
        (Multilabel(["a", "b"], threshold={"a": 2}), "task: threshold: 2 is not between 0 and 1"),
        (Regression(quantiles=[0.9, 0.1]), "task: quantiles: [0.9, 0.1] is not increasing; list each quantile once"),
        (Regression(quantiles=[0, 0.5]), "task: quantiles: 0 is not above 0 and below 1"),
        (Regression(spread="sigma"), "task: spread: 'sigma' is not one of 'variance', 'log_variance', 'std'"),
        (Regression(quantiles=[0.5], spread="std"), "task: a head predicts quantiles or a spread, not both"),
        (Regression(bounds=(3, 1)), "task: bounds: [3, 1]: low is above high"),
        (Regression(bounds=3), "task: bounds: 3 is neither a pair of low and high"),
        (Regression(["u", "v"], bounds=[(0, 1)] * 3), "task: bounds: 3 pairs of low and high for 2 targets"),
        (Regression(["u", "v"], bounds=(0, 1)), "task: bounds: 1 pair of low and high for 2 targets; list one"),
        (Regression(bounds=(float("nan"), 1)), "task: bounds: [nan, 1]: low is nan; use a finite number, or None"),
        (Regression(bounds=(float("inf"), None)), "task: bounds: [inf, None]: low is inf; use a finite number"),
        (Regression(bounds=(0, float("-inf"))), "task: bounds: [0, -inf]: high is -inf; use a finite number"),
        (Binary(LABELS, output=[]), "task: output: the list is empty; use the index of an output, or its key"),
        (Binary(LABELS, output=[0, 0]), "task: output: [0, 0] contains 0 twice; list each output once"),
        (Multiclass([-0.0, 0.0]), "task: labels: -0.0 and 0.0 are equal; labels must differ by value"),
        (Generation([0, 1], end=True, steps=3), "task: end: True is not in the vocabulary"),
        (Generation(["a", "b", "a"], end="b", steps=3), "task: vocabulary: 'a' appears twice"),
        (Regression(scaler="fitted"), "task: scaler: str cannot be saved for targets"),
        (Tagging(["a", "b"], output=[0, 1]), "task: output: [0, 1] is a list; this task takes one output"),
        (Generation(["a", "b"], end="c", steps=3), "task: end: 'c' is not in the vocabulary"),
        (Generation(["a", "b"], end="b", steps=0), "task: steps: 0 is not an integer from 1 to 65536"),
        (Generation(["a", "b"], end="b", steps=3, beams=2.5), "task: beams: 2.5 is not an integer from 1 to 1024"),
        ("regression", "task is 'regression'; pass one of Binary, Multiclass"),
        (None, "task is None; pass one of Binary"),
        (Binary, "task is the class Binary, not an instance"),
        ({}, "task is an empty mapping"),
        ({"fraud": {"kind": "binary", "labels": LABELS}}, "task 'fraud' is {kind = 'binary'"),
        (Table(["a"]), "task is a Table;"),
    ],
)  # fmt: skip
def test_wrong_tasks(tmp_path: Path, task: Any, message: str) -> None:
    """Each with its field, the rule and the value."""
    assert message in refused(tmp_path, task=task)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (Image("a", size=12), "inputs: size: 12 is not a pair of height and width in pixels"),
        (Image("a", size=(0, 12)), "inputs: size: 0 is not an integer from 1 to 16384"),
        ({"x": Image("a", size=(2, 2), channels=4)}, "input 'x': channels: 4 is not one of 1, 3"),
        (Image("a", size=(2, 2), interpolation="cubic"), "interpolation: 'cubic' is not one of 'nearest', 'box'"),
        (Image("a", size=(2, 2), channels=1.0), "inputs: channels: 1.0 is not one of 1, 3"),
        (TokenSequence("a", longest=9, vocabulary=["x", "x"]), "inputs: vocabulary: 'x' appears twice"),
        (Table(["a"], vocabularies={"a": ["x", "x"]}), "inputs: vocabularies: words of 'a': 'x' appears twice"),
        (FloatSequence(["a", "a"], longest=9), "inputs: column 'a' appears twice"),
        (Image("a", size=(2, 2), exif="no"), "inputs: exif: 'no' is neither true nor false"),
        (Image("a", size=(2, 2), std=["x"]), "inputs: std: 'x' is not a number"),
        (Image("a", size=(2, 2), mean=[120, 120, 120]), "inputs: mean: 120 is not between 0 and 1, as pixels"),
        (Image("a", size=(2, 2), mean=[0.5] * 3, std=[0.2, 58.4, 0.2]), "inputs: std: 58.4 is not between 0 and 1"),
        (Image("a", size=(2, 2)), "column 'a' is float64, but Image takes bytes or paths"),
        (TokenSequence("a", longest=0), "inputs: longest: 0 is not an integer from 1 to 1048576"),
        (TokenSequence("a", longest=9, mask="some"), "mask: 'some' is not one of 'real', 'padding', 'lengths'"),
        (TokenSequence("a", longest=9, unknown=3.5), "inputs: unknown: 3.5 is not a word; words are text or integers"),
        (TokenSequence("a", longest=9), "column 'a' is float64, but TokenSequence takes lists"),
        (FloatSequence(["a"], longest=9), "column 'a' is float64, but FloatSequence takes lists"),
        (FloatSequence("ab", longest=9), "inputs: columns: 'ab' is not a list of column names"),
        (Table([]), "inputs: the list of columns is empty"),
        ({"x": Table([])}, "input 'x': the list of columns is empty"),
        (Table(["a", "a"]), "column 'a' appears twice"),
        (Table([""]), "the bundle cannot be described: name: '' is empty"),
        (Table(["a"], vocabularies={"a": "xy"}), "inputs: vocabularies: 'xy' is not a list of the words of 'a'"),
        (Table(["a"], vocabularies={"a": ["x", None]}), "inputs: vocabularies: words of 'a': None is not a word"),
        (Table(["a"], vocabularies=["xy"]), "inputs: vocabularies: ['xy'] does not map columns to lists of words"),
        ({"x": Table(["a"]), "y": Image("a", size=(2, 2))}, "column 'a' is used by Table and by Image; it can only"),
        ({"x": ["a", "b"]}, "input 'x' is ['a', 'b']; pass one of Table, Image, TokenSequence, FloatSequence"),
        ({}, "inputs is an empty mapping"),
        (Binary(LABELS), "inputs is a Binary;"),
    ],
)  # fmt: skip
def test_wrong_inputs(tmp_path: Path, inputs: Any, message: str) -> None:
    """Each with its field, the rule and the value."""
    assert message in refused(tmp_path, features=None, inputs=inputs)


def test_features_or_inputs(tmp_path: Path) -> None:
    """Exactly one of the two is required."""
    both = refused(tmp_path, inputs=Table(["a", "b"]))
    assert both.startswith("both features and inputs are given; keep features for a model that takes one table")
    neither = refused(tmp_path, features=None)
    assert neither.startswith('features and inputs are missing; pass features=["age", "income"], the columns of one')
    assert "features: 'ab' is not a list of column names" in refused(tmp_path, features="ab")
    assert "features: the list of columns is empty" in refused(tmp_path, features=[])
    assert "features: column 'a' appears twice" in refused(tmp_path, features=["a", "a"])
    assert "features: a DataFrame is not a list of column names; list the names" in refused(tmp_path, features=FRAME)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ([nn.Linear(2, 1)], "the model is a list; pass Ensemble([model_1, model_2])"),
        (Ensemble([]), "Ensemble: members: the list of models is empty"),
        (Ensemble(nn.Linear(2, 1)), "Ensemble: members: a Linear is not a list of models"),
        (Ensemble([nn.Linear(2, 1)] * 2, combine="max"), "Ensemble: combine: 'max' is not one of 'probability'"),
        (Ensemble([nn.Linear(2, 1)] * 2, combine="mean"), "Ensemble: combine 'mean' does not support binary"),
        (Ensemble([nn.Linear(2, 1)] * 2, std="yes"), "Ensemble: std: 'yes' is neither true nor false"),
        (Ensemble([nn.Linear(2, 1)], std=True), "Ensemble: combine and std need several models, and there is only one"),
        (Ensemble([Model(nn.Linear(2, 1), prune=0.5)]), "Ensemble: members[0]: Model has the same fields; pass"),
        (Ensemble([nn.Linear(2, 1)] * 2, call="dictionary"), "Ensemble: call: 'dictionary' is not one of 'arguments'"),
        (Model(nn.Linear(2, 1), call="kwargs"), "Model: call: 'kwargs' is not one of 'arguments', 'dict'"),
        (Model(nn.Linear(2, 1), prune="half"), "Model: prune: 'half' is not a number"),
        (Model([nn.Linear(2, 1)] * 2), "Model: model: it is a list; pass Ensemble([model_1, model_2])"),
        (nn.Linear, "the model is the class Linear, not an instance"),
        (("train:make", None), "the model is 'train:make' with a NoneType; pass its state dict"),
        (Model(Ensemble([nn.Linear(2, 1)])), "Model: model: Ensemble has the same fields; pass that alone"),
    ],
)  # fmt: skip
def test_wrong_models(tmp_path: Path, model: Any, message: str) -> None:
    """Each with its field, the rule and the value; a list of models is not an ensemble."""
    with pytest.raises(BundleError) as caught:
        save_bundle(tmp_path / "b", model, features=["a", "b"], task=Binary(LABELS), sample=FRAME)
    assert message in str(caught.value)


def test_spread_of_an_ensemble(tmp_path: Path) -> None:
    """The spread of a regression and the standard deviation of the members would be the same column."""
    with pytest.raises(BundleError, match="would both write prediction_std; leave std out"):
        save_bundle(
            tmp_path / "b",
            Ensemble([nn.Linear(2, 2), nn.Linear(2, 2)], std=True),
            features=["a", "b"],
            task=Regression(spread="variance"),
            sample=FRAME,
        )


@pytest.mark.parametrize("task", [Binary({"no", "yes"}), {"x": Multilabel(LABELS, threshold={0.1, 0.2})}])
def test_sets_are_refused(tmp_path: Path, task: Any) -> None:
    """At any depth, with the name of the field."""
    error = refused(tmp_path, task=task)
    assert error.startswith("task")
    assert "is a set, which has no order; pass a list" in error


def test_unknown_and_missing_fields_are_python_errors() -> None:
    """As in any other call."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'treshold'"):
        Binary(LABELS, treshold=0.3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'longest'"):
        TokenSequence("a")  # type: ignore[call-arg]


@pytest.mark.parametrize("spec", [*TASKS, *INPUTS, Model, Ensemble], ids=lambda spec: spec.__name__)
def test_every_spec_is_documented(spec: Any) -> None:
    """Every field is in the docstring, with examples that run; specs are frozen and exported."""
    text = inspect.cleandoc(spec.__doc__)
    arguments = text.split("Args:")[1]
    names = [field.name for field in dataclasses.fields(spec) if field.name != "kind"]
    assert [name for name in names if f"    {name}: " not in arguments] == []
    assert getattr(scoreline, spec.__name__) is spec
    examples = [line.strip() for line in text.splitlines() if line.startswith("    " + spec.__name__ + "(")]
    known = {"y_scaler": StandardScaler(), **dict.fromkeys(("network", "model_1", "model_2", "model_3"))}

    def value(node: ast.expr) -> Any:
        return known[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)

    assert examples
    for example in examples:
        call = ast.parse(example, mode="eval").body
        assert isinstance(call, ast.Call)
        given = [value(node) for node in call.args if not isinstance(node, ast.List)]
        given += [[value(part) for part in node.elts] for node in call.args if isinstance(node, ast.List)]
        made = spec(*given, **{word.arg: value(word.value) for word in call.keywords if word.arg})
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.kind = "other"


def test_arrays_series_and_numpy_numbers(tmp_path: Path) -> None:
    """Are accepted as lists and numbers."""
    task = Multilabel(pd.Series(["u", "v"]), threshold=np.array([0.5, 0.25]))
    save_bundle(tmp_path / "b", nn.Linear(2, 2), features=np.array(["a", "b"]), task=task, sample=FRAME)
    (head,) = Scorer.load(tmp_path / "b", device="cpu").manifest.heads
    assert (head.labels, head.thresholds) == (["u", "v"], [0.5, 0.25])
    task = Multilabel(["u", "v"], threshold=pd.Series({"v": 0.25, "u": 0.5}))
    save_bundle(tmp_path / "c", nn.Linear(2, 2), features=["a", "b"], task=task, sample=FRAME)
    (head,) = Scorer.load(tmp_path / "c", device="cpu").manifest.heads
    assert head.thresholds == [0.5, 0.25]
