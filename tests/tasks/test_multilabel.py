"""Any number of labels: thresholds, calibration and ensembles, compared with NumPy in float64."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.tasks.multilabel import MultilabelTask
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.heads import Bounds, MultilabelHead, Platt

from task_models import sigmoid

Z = np.array([[-2.0, 0.5, 3.0], [0.1, -0.1, -40.0], [40.0, 1.0, 0.2]])


def task(**more: Any) -> MultilabelTask:
    return MultilabelTask(
        MultilabelHead(**{"outputs": "logits", "labels": ["x", "y", "z"], "thresholds": [0.5, 0.25, 0.75], **more})
    )


def tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.mark.parametrize("outputs", ["logits", "probabilities", "log_probabilities"])
def test_every_label_has_its_own_threshold(outputs: Any) -> None:
    """And its own probability, which need not sum to 1 with others."""
    wanted = sigmoid(Z)
    raw = {"logits": Z, "probabilities": wanted, "log_probabilities": np.log(wanted)}[outputs]
    columns = task(outputs=outputs, bounds=Bounds()).decode(tensor(raw), ColumnOptions()).columns
    np.testing.assert_array_equal(np.column_stack(columns[:3]), wanted > [0.5, 0.25, 0.75])
    np.testing.assert_allclose(np.column_stack(columns[3:]), wanted, rtol=1e-5, atol=1e-37)


def test_the_threshold_itself_is_not_above_it() -> None:
    """Nor is a NaN, which is marked."""
    found = task(outputs="probabilities").decode(tensor([[0.5, 0.25, 0.75], [np.nan, 0.3, 0.8]]), ColumnOptions())
    assert [column.to_pylist() for column in found.columns[:3]] == [[False, False], [False, True], [False, True]]
    assert found.finite is not None
    assert found.finite.tolist() == [True, False]


def test_one_label_is_enough() -> None:
    """With a list of one probability."""
    one = task(labels=["only"], thresholds=[0.5])
    options = ColumnOptions(probabilities="list")
    prediction, lists = one.decode(tensor([[1.0], [-1.0]]), options).columns
    assert prediction.to_pylist() == [True, False]
    assert lists.type == pa.list_(pa.float32(), 1)
    assert [field.name for field in one.fields(options, std=True)] == [
        "prediction_only", "probabilities", "prediction_std_only",
    ]  # fmt: skip


@pytest.mark.parametrize("combine", ["probability", "logit", "vote"])
def test_ensembles(combine: Any) -> None:
    """Two members: each label is combined by itself; the deviation is of the population."""
    members = np.stack([Z, np.roll(Z, 1, axis=0)], axis=1)
    each = sigmoid(members)
    wanted = {
        "probability": each.mean(axis=1),
        "logit": sigmoid(members.mean(axis=1)),
        "vote": (each > 0.5).mean(axis=1),
    }[combine]
    one, ensemble = task(), Ensemble(combine=combine, std=True)
    columns = one.decode(tensor(members.reshape(3, 6)), ColumnOptions(), ensemble, 2).columns
    np.testing.assert_allclose(np.column_stack(columns[3:6]), wanted, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(np.column_stack(columns[6:]), each.std(axis=1), rtol=1e-5, atol=1e-7)
    odds = one.logits(tensor(members.reshape(3, 6)), ensemble, 2)
    np.testing.assert_allclose(sigmoid(odds.numpy()), wanted, rtol=1e-4, atol=2e-7)


def test_votes_of_a_member_that_fails() -> None:
    """The row is not finite, although another member votes."""
    raw = tensor([[1.0, 1.0, np.nan, 1.0, 1.0, 1.0]])
    found = task().decode(raw, ColumnOptions(), Ensemble(combine="vote"), 2)
    assert found.finite is not None
    assert found.finite.tolist() == [False]


def test_calibration() -> None:
    """A line per label, before the thresholds."""
    one = task(calibration=Platt(slope=[1.0, 2.0, 0.5], intercept=[0.0, -1.0, 1.0]))
    wanted = sigmoid(Z * [1.0, 2.0, 0.5] + [0.0, -1.0, 1.0])
    columns = one.decode(tensor(Z), ColumnOptions()).columns
    np.testing.assert_allclose(np.column_stack(columns[3:]), wanted, rtol=1e-5, atol=1e-37)
    np.testing.assert_array_equal(np.column_stack(columns[:3]), wanted > [0.5, 0.25, 0.75])
    np.testing.assert_allclose(one.probabilities(one.logits(tensor(Z))), wanted, rtol=1e-5)


def test_bounds() -> None:
    """One label is enough for a row to be out of bounds."""
    found = task(outputs="probabilities", bounds=Bounds()).decode(tensor([[0.9] * 3, [0.1, 0.1, 1.1]]), ColumnOptions())
    assert found.out_of_bounds is not None
    assert found.out_of_bounds.tolist() == [False, True]


def test_its_thresholds_can_be_replaced() -> None:
    """One of them, or all; the head itself is unchanged."""
    one = task()
    assert one.threshold_labels == ["x", "y", "z"]
    assert one.with_threshold(0.125).thresholds == [0.125] * 3
    assert one.with_threshold(0.125, 1).thresholds == [0.5, 0.125, 0.75]
    assert one.head.thresholds == [0.5, 0.25, 0.75]
    assert list(one.describe()) == ["thresholds '0.5', '0.25', '0.75'"]


NAMES = [f"{column}_{label}" for column in ("prediction", "probability") for label in "xyz"]


@pytest.mark.parametrize("values", [np.eye(3, dtype=bool), np.eye(3, dtype=np.int64)])
def test_expected_labels(values: np.ndarray) -> None:
    """Booleans, or 0 and 1."""
    found = task().expected_columns(values, NAMES)
    assert list(found) == NAMES[:3]
    assert found["prediction_y"].tolist() == [False, True, False]


def test_expected_probabilities() -> None:
    """Floats; another number of columns is refused."""
    found = task().expected_columns(sigmoid(Z), NAMES)
    assert list(found) == NAMES[3:]
    np.testing.assert_allclose(found["probability_x"], sigmoid(Z)[:, 0], rtol=1e-6)
    for values in (np.zeros(3), np.zeros((3, 2))):
        with pytest.raises(BundleError) as raised:
            task().expected_columns(values, NAMES)
        assert str(raised.value) == f"expected has the shape {list(values.shape)}, but the model has 3 labels"
