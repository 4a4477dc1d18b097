"""One of several labels: the most likely ones, calibration and ensembles, compared with NumPy in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.tasks.multiclass import MulticlassTask
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.heads import Bounds, MulticlassHead, Temperature

from task_models import softmax

Z = np.random.default_rng(0).normal(size=(8, 4)) * 3


def task(labels: int = 4, **more: Any) -> MulticlassTask:
    return MulticlassTask(MulticlassHead(**{"outputs": "logits", "labels": list(range(labels)), **more}))


def tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def test_labels_and_probabilities() -> None:
    """By the largest logit, and the softmax."""
    label, *probabilities = task().decode(tensor(Z), ColumnOptions()).columns
    assert label.to_pylist() == Z.argmax(axis=1).tolist()
    np.testing.assert_allclose(np.column_stack(probabilities), softmax(Z), rtol=1e-5)


@settings(max_examples=40)
@given(st.data(), st.sampled_from([2, 5, 32, 33, 40]), st.integers(1, 5))
def test_top_k_is_a_stable_sort(data: st.DataObject, labels: int, k: int) -> None:
    """Of equal outputs the lowest label is first, with zeros of both signs and infinities, for few labels and many."""
    numbers = st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1e-30, 1.0, 3e38]) | st.floats(-9, 9, width=32)
    raw = data.draw(arrays(np.float32, (3, labels), elements=numbers))
    k = min(k, labels)
    columns = task(labels).decode(tensor(raw), ColumnOptions(probabilities="none", top_k=k)).columns
    ranks = np.argsort(-raw, axis=1, kind="stable")[:, :k]
    assert [column.to_pylist() for column in columns[1::2]] == ranks.T.tolist()
    assert columns[0].to_pylist() == ranks[:, 0].tolist()


def test_top_k_has_the_probabilities_of_its_labels() -> None:
    """In the same rows."""
    columns = task().decode(tensor(Z), ColumnOptions(probabilities="none", top_k=4)).columns
    np.testing.assert_allclose(np.column_stack(columns[2::2]), -np.sort(-softmax(Z), axis=1), rtol=1e-5)
    names = [field.name for field in task().fields(ColumnOptions(probabilities="none", top_k=2), std=True)]
    assert names == ["prediction", "top_1", "top_1_probability", "top_2", "top_2_probability", "prediction_std"]
    assert task().most_top_k == 4


@settings(max_examples=20)
@given(arrays(np.float32, (4, 3), elements=st.floats(-20, 20, width=32)))
def test_a_row_does_not_depend_on_other_rows(raw: np.ndarray) -> None:
    """Bit by bit, alone and in a block."""
    one = task(3)
    whole = one.decode(tensor(raw), ColumnOptions()).columns
    for row in range(4):
        alone = one.decode(tensor(raw[row : row + 1]), ColumnOptions()).columns
        assert [column[0].as_py() for column in alone] == [column[row].as_py() for column in whole]


@pytest.mark.parametrize("outputs", ["logits", "probabilities", "log_probabilities"])
def test_a_temperature(outputs: Any) -> None:
    """Divides the logits, or the logarithms of probabilities; the predicted label stays the same."""
    raw = {"logits": Z, "probabilities": softmax(Z), "log_probabilities": np.log(softmax(Z))}[outputs]
    one = task(outputs=outputs, calibration=Temperature(temperature=2.5))
    label, *probabilities = one.decode(tensor(raw), ColumnOptions()).columns
    wanted = softmax(Z / 2.5)
    np.testing.assert_allclose(np.column_stack(probabilities), wanted, rtol=1e-4)
    np.testing.assert_allclose(one.probabilities(one.logits(tensor(raw))), wanted, rtol=1e-4)
    assert label.to_pylist() == Z.argmax(axis=1).tolist()
    assert list(one.describe()) == ["calibrated (temperature)"]


def test_an_ensemble_and_its_temperature() -> None:
    """The mean probability is calibrated as a single model's would be."""
    members = np.stack([Z, -Z[:, ::-1]], axis=1)
    mean = np.stack([softmax(row) for row in members]).mean(axis=1)
    raw, ensemble = tensor(members.reshape(8, 8)), Ensemble(combine="probability", std=True)
    columns = task().decode(raw, ColumnOptions(), ensemble, 2).columns
    np.testing.assert_allclose(np.column_stack(columns[1:5]), mean, rtol=1e-5)
    assert len(columns) == 6
    one = task(calibration=Temperature(temperature=0.5))
    wanted = softmax(np.log(mean) / 0.5)
    np.testing.assert_allclose(
        np.column_stack(one.decode(raw, ColumnOptions(), ensemble, 2).columns[1:5]), wanted, rtol=1e-4
    )
    np.testing.assert_allclose(one.probabilities(one.logits(raw, ensemble, 2)), wanted, rtol=1e-4)


def test_rows_that_are_not_finite_or_out_of_bounds() -> None:
    """Are marked, each by itself."""
    one = task(2, outputs="probabilities", bounds=Bounds())
    found = one.decode(tensor([[0.5, 0.5], [np.nan, 0.5], [0.9, 0.9], [1.5, -0.5]]), ColumnOptions())
    assert found.finite is not None
    assert found.out_of_bounds is not None
    assert found.finite.tolist() == [True, False, True, True]
    assert found.out_of_bounds.tolist() == [False, False, True, True]


NAMES = ["prediction", *(f"probability_{label}" for label in range(4))]


def test_expected_arrays() -> None:
    """Labels, or a column of probabilities per label."""
    assert list(task().expected_columns(np.array([3, 0]), NAMES)) == ["prediction"]
    assert list(task().expected_columns(np.array([3.0, 0.0]), NAMES)) == ["prediction"]
    found = task().expected_columns(softmax(Z), NAMES)
    assert list(found) == NAMES[1:]
    np.testing.assert_allclose(found["probability_2"], softmax(Z)[:, 2], rtol=1e-6)


@pytest.mark.parametrize(("values", "shape"), [(np.array([0.5, 0.25]), "[2]"), (np.zeros((2, 3)), "[2, 3]")])
def test_other_expected_arrays_are_refused(values: np.ndarray, shape: str) -> None:
    """With the shapes that are accepted."""
    with pytest.raises(BundleError) as raised:
        task().expected_columns(values, NAMES)
    assert str(raised.value) == (f"expected is float64 {shape}; pass labels [rows] or probabilities [rows, 4]")
