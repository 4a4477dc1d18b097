"""Probabilities from raw outputs, compared with NumPy in float64: softmax, ties, limits, and several members."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.tasks.probabilities import (
    FEW_LABELS,
    by_label,
    class_probabilities,
    combined,
    finite_rows,
    float_column,
    labels_at,
    largest,
    log_odds,
    log_probabilities,
    logistic,
    out_of_bounds,
    platt,
    probability_columns,
    yes_probabilities,
)
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.heads import Bounds, MulticlassHead, Platt, Temperature

from task_models import sigmoid, softmax

Outputs = Literal["logits", "probabilities", "log_probabilities"]
NUMBERS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=FEW_LABELS + 3),
    elements=st.sampled_from([-1e4, -3.0, -0.0, 0.0, 1.5, 2.0, 1e4]),
)


@settings(max_examples=30)
@given(NUMBERS)
def test_the_largest_output_of_each_row(scores: np.ndarray) -> None:
    """Of equal ones the first, as `numpy.argmax` has it, for few labels and many."""
    best, indices = largest(torch.from_numpy(scores))
    np.testing.assert_array_equal(best, scores.max(axis=0))
    np.testing.assert_array_equal(indices, scores.argmax(axis=0))


@settings(max_examples=30)
@given(NUMBERS)
def test_softmax_by_label(raw: np.ndarray) -> None:
    """Finite and equal to the formula also for logits of ±1e4; the index is that of the largest logit."""
    probabilities, indices = by_label("logits", torch.from_numpy(raw))
    np.testing.assert_allclose(probabilities.T, softmax(raw.astype(np.float64)), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(indices, raw.argmax(axis=1))


@pytest.mark.parametrize("labels", [3, FEW_LABELS + 1])
def test_other_outputs_by_label(labels: int) -> None:
    """Probabilities are unchanged, their logarithms are not."""
    wanted = np.random.default_rng(0).dirichlet(np.ones(labels), 5)
    kinds: list[tuple[Outputs, np.ndarray]] = [("probabilities", wanted), ("log_probabilities", np.log(wanted))]
    for outputs, raw in kinds:
        probabilities, indices = by_label(outputs, torch.from_numpy(raw))
        np.testing.assert_allclose(probabilities.T, wanted, rtol=1e-5)
        np.testing.assert_array_equal(indices, wanted.argmax(axis=1))


@pytest.mark.parametrize("labels", [3, FEW_LABELS + 1])
def test_a_row_with_nan_is_nan(labels: int) -> None:
    """And other rows are not."""
    raw = torch.zeros(3, labels)
    raw[1, 2] = torch.nan
    probabilities, _ = by_label("logits", raw)
    found = finite_rows(probabilities)
    assert found is not None
    assert found.tolist() == [True, False, True]


@settings(max_examples=20)
@given(arrays(np.float32, st.integers(0, 20), elements=st.floats(-100, 100, width=32)))
def test_logistic(logits: np.ndarray) -> None:
    """Equals the formula, and a value does not depend on its position."""
    found = logistic(torch.from_numpy(logits))
    np.testing.assert_allclose(found, sigmoid(logits.astype(np.float64)), rtol=1e-5, atol=1e-37)
    alone = [float(logistic(torch.tensor([value]))) for value in logits]
    assert found.tolist() == alone


def test_independent_labels() -> None:
    """A sigmoid, an exponential, or nothing."""
    wanted = np.array([[0.1, 0.9], [0.5, 0.999]])
    raw = {"logits": np.log(wanted / (1 - wanted)), "probabilities": wanted, "log_probabilities": np.log(wanted)}
    for outputs in ("logits", "probabilities", "log_probabilities"):
        found = yes_probabilities(outputs, torch.from_numpy(raw[outputs]))  # type: ignore[arg-type]
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_logarithms_are_limited() -> None:
    """At 1e-7 from 0 and 1; elsewhere they equal the formula."""
    inside = np.array([1e-3, 0.25, 0.5, 0.999], dtype=np.float32)
    np.testing.assert_allclose(log_odds(torch.from_numpy(inside)), np.log(inside / (1 - inside)), atol=1e-4)
    np.testing.assert_allclose(log_probabilities(torch.from_numpy(inside)), np.log(inside), rtol=1e-5)
    odds = log_odds(torch.tensor([0.0, 1.0]))
    assert odds[0] == pytest.approx(np.log(1e-7), abs=1e-3)
    assert bool(odds.isfinite().all())
    assert float(log_probabilities(torch.tensor([0.0]))[0]) == pytest.approx(np.log(1e-7), rel=1e-6)


def test_calibrations() -> None:
    """A line per label, or one temperature, in the precision of the logits."""
    odds = np.array([[-2.0, 0.0, 3.0], [1.0, -1.0, 0.5]])
    found = platt(Platt(slope=[2.0, 0.5], intercept=[1.0, -1.0]), torch.from_numpy(odds))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, sigmoid(np.array([[2.0], [0.5]]) * odds + [[1.0], [-1.0]]), rtol=1e-12)
    found = platt(Temperature(temperature=4.0), torch.from_numpy(odds))
    np.testing.assert_allclose(found, sigmoid(odds / 4), rtol=1e-12)


@pytest.mark.parametrize("combine", ["probability", "logit", "vote"])
def test_several_members(combine: Any) -> None:
    """The combined probabilities, and the deviation of the probability of the predicted label."""
    logits = np.random.default_rng(1).normal(size=(6, 4, 3))
    each = np.stack([softmax(row) for row in logits])
    wanted = {
        "probability": each.mean(axis=1),
        "logit": softmax(logits.mean(axis=1)),
        "vote": np.eye(3)[each.argmax(axis=2)].mean(axis=1),
    }[combine]
    for outputs, raw in (("logits", logits), ("probabilities", each), ("log_probabilities", np.log(each))):
        found, std = combined(outputs, torch.from_numpy(raw), Ensemble(combine=combine))  # type: ignore[arg-type]
        if combine == "logit" and outputs != "logits":
            probabilities = np.exp(np.log(each).mean(axis=1))
            wanted = probabilities / probabilities.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        chosen = wanted.argmax(axis=1)
        np.testing.assert_allclose(std, each.std(axis=1)[np.arange(6), chosen], rtol=1e-4)


def test_votes_of_a_member_that_fails() -> None:
    """NaN stays NaN: a vote must not hide it."""
    raw = torch.tensor([[[1.0, 0.0], [0.0, torch.nan]], [[1.0, 0.0], [0.0, 1.0]]])
    found, _ = combined("logits", raw, Ensemble(combine="vote"))
    assert found.isnan().any(dim=1).tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([[0.5, 1.0], [0.5, 0.0]], None),
        ([[0.5005, 0.0], [0.5, 1.0]], None),
        ([[0.502, 0.0], [0.5, 1.0]], [True, False]),
        ([[-0.002, 0.0], [1.002, 1.0]], [True, False]),
    ],
)
def test_bounds(values: list[list[float]], wanted: list[bool] | None) -> None:
    """Within 1e-3 of [0, 1], and of a sum of 1."""
    head = MulticlassHead(outputs="probabilities", labels=["a", "b"], bounds=Bounds())
    found = out_of_bounds(head, torch.tensor(values), sums_to_one=True)
    assert (None if found is None else found.tolist()) == wanted
    assert out_of_bounds(head.model_copy(update={"bounds": None}), torch.tensor(values), sums_to_one=True) is None


def test_sums_are_not_checked_unless_they_should_be_1() -> None:
    """Labels of a multilabel head are independent."""
    head = MulticlassHead(outputs="probabilities", labels=["a", "b"], bounds=Bounds())
    assert out_of_bounds(head, torch.tensor([[0.9], [0.9]])) is None


def test_probability_columns() -> None:
    """A column per label, one column of lists, or none."""
    values = torch.tensor([[0.1, 0.2], [0.9, 0.8]])
    rows = [[pytest.approx(0.1), pytest.approx(0.9)], [pytest.approx(0.2), pytest.approx(0.8)]]
    columns = probability_columns(values, ColumnOptions())
    assert [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)] == rows
    (lists,) = probability_columns(values, ColumnOptions(probabilities="list"))
    assert lists.type == pa.list_(pa.float32(), 2)
    assert lists.to_pylist() == rows
    assert probability_columns(values, ColumnOptions(probabilities="none")) == []


def test_finite_rows() -> None:
    """None where all are finite, also for sums that overflow: then each row is checked."""
    assert finite_rows(torch.ones(2, 3)) is None
    huge = finite_rows(torch.full((2, 3), 3e38))
    assert huge is None or bool(huge.all())
    found = finite_rows(torch.tensor([[1.0, torch.inf, 2.0], [1.0, 1.0, torch.nan]]))
    assert found is not None
    assert found.tolist() == [True, False, False]


def test_labels_and_columns() -> None:
    """Labels by index in their own type; strided values are copied in order."""
    assert labels_at(torch.tensor([2, 0, 0]), [5, 6, 7]).to_pylist() == [7, 5, 5]
    assert labels_at(torch.tensor([], dtype=torch.int64), ["a", "b"]).type == pa.string()
    assert float_column(torch.arange(6.0).reshape(2, 3)[:, 1]).to_pylist() == [1.0, 4.0]
    np.testing.assert_array_equal(class_probabilities("probabilities", torch.ones(1, 2).double()), [[1, 1]])
