"""Two labels: probabilities, threshold, calibration and ensembles, compared with NumPy in float64."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.tasks.binary import BinaryTask
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.heads import BinaryHead, Bounds, Platt, Temperature

from task_models import sigmoid, softmax

Outputs = Literal["logits", "probabilities", "log_probabilities"]
LOGITS = np.array([-30.0, -2.0, -0.1, 0.0, 0.1, 3.0, 30.0])


def task(outputs: Outputs = "logits", **more: Any) -> BinaryTask:
    return BinaryTask(BinaryHead(outputs=outputs, labels=["no", "yes"], **more))


def tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def raw_for(outputs: Outputs, width: int) -> torch.Tensor:
    """Outputs of one model whose log-odds are LOGITS, with one column or two."""
    pairs = np.column_stack([np.zeros_like(LOGITS) + 4, LOGITS + 4])
    if outputs != "logits":
        pairs = softmax(pairs) if outputs == "probabilities" else np.log(softmax(pairs))
    if width == 2:
        return tensor(pairs)
    return tensor(LOGITS[:, None] if outputs == "logits" else pairs[:, 1:])


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("outputs", ["logits", "probabilities", "log_probabilities"])
def test_every_kind_of_output(outputs: Outputs, width: int) -> None:
    """The same probabilities and labels, whatever the model returns."""
    label, probability = task(outputs).decode(raw_for(outputs, width), ColumnOptions()).columns
    np.testing.assert_allclose(probability, sigmoid(LOGITS), rtol=1e-5, atol=1e-7)
    assert label.to_pylist()[:3] == ["no"] * 3
    assert label.to_pylist()[4:] == ["yes"] * 3


def test_the_threshold_itself_is_the_first_label() -> None:
    """A label is predicted only above its threshold, in float32."""
    above = np.nextafter(np.float32(0.75), np.float32(1))
    found = task("probabilities", threshold=0.75).decode(tensor([[0.75], [above], [0.0], [1.0]]), ColumnOptions())
    assert found.columns[0].to_pylist() == ["no", "yes", "no", "yes"]


@settings(max_examples=20)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=9), st.floats(0, 1))
def test_a_row_does_not_depend_on_other_rows(logits: list[float], threshold: float) -> None:
    """Bit by bit, alone and in a block."""
    one = task(threshold=threshold)
    whole = one.decode(tensor(logits)[:, None], ColumnOptions()).columns
    for row, logit in enumerate(logits):
        alone = one.decode(tensor([[logit]]), ColumnOptions()).columns
        assert [column[0].as_py() for column in alone] == [column[row].as_py() for column in whole]


def test_without_probabilities() -> None:
    """Only the label is left."""
    found = task().decode(tensor([[1.0]]), ColumnOptions(probabilities="none"))
    assert [column.to_pylist() for column in found.columns] == [["yes"]]


def test_values_that_are_not_finite() -> None:
    """NaN is marked; infinite logits are probabilities of 0 and 1."""
    found = task().decode(tensor([[np.nan], [np.inf], [-np.inf], [0.0]]), ColumnOptions())
    assert found.finite is not None
    assert found.finite.tolist() == [False, True, True, True]
    assert found.columns[1].to_pylist()[1:] == [1.0, 0.0, 0.5]


def test_probabilities_out_of_bounds() -> None:
    """Beyond 0 and 1 by more than rounding; without declared bounds, they are not checked."""
    values = tensor([[0.5], [1.0005], [1.01], [-0.01]])
    found = task("probabilities", bounds=Bounds()).decode(values, ColumnOptions())
    assert found.out_of_bounds is not None
    assert found.out_of_bounds.tolist() == [False, False, True, True]
    assert task("probabilities").decode(values, ColumnOptions()).out_of_bounds is None


@pytest.mark.parametrize("width", [1, 2])
def test_calibration(width: int) -> None:
    """Platt's line and a temperature are applied to the log-odds."""
    raw = raw_for("logits", width)
    platt = Platt(slope=[0.5], intercept=[-0.25])
    for calibration, wanted in (
        (platt, sigmoid(0.5 * LOGITS - 0.25)),
        (Temperature(temperature=3.0), sigmoid(LOGITS / 3)),
    ):
        one = task(calibration=calibration)
        columns = one.decode(raw, ColumnOptions()).columns
        np.testing.assert_allclose(columns[1], wanted, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(one.probabilities(one.logits(raw))[:, 0], wanted, rtol=1e-5, atol=1e-7)
    assert list(task(calibration=platt).describe()) == ["'yes' above 0.5", "calibrated (platt)"]


MEMBERS = np.array([[2.0, -1.0, 0.5], [-3.0, -0.2, 0.1], [0.0, 1.0, -1.5]])


@pytest.mark.parametrize("outputs", ["logits", "probabilities", "log_probabilities"])
@pytest.mark.parametrize("combine", ["probability", "logit", "vote"])
def test_ensembles(outputs: Outputs, combine: Any) -> None:
    """Three members: the mean of probabilities or logits, or the share of votes; the deviation is of the population."""
    each = sigmoid(MEMBERS)
    raw = {"logits": MEMBERS, "probabilities": each, "log_probabilities": np.log(each)}[outputs]
    wanted = {
        "probability": each.mean(axis=1),
        "logit": sigmoid(MEMBERS.mean(axis=1)),
        "vote": (each > 0.5).mean(axis=1),
    }[combine]
    one, ensemble = task(outputs), Ensemble(combine=combine, std=True)
    label, probability, std = one.decode(tensor(raw), ColumnOptions(), ensemble, 3).columns
    np.testing.assert_allclose(probability, wanted, rtol=1e-5)
    np.testing.assert_allclose(std, each.std(axis=1), rtol=1e-5)
    assert label.to_pylist() == ["yes" if value > 0.5 else "no" for value in wanted]


def test_the_logits_of_saturated_probabilities_are_limited() -> None:
    """A probability of 0 or 1 has log-odds of about ±16, which calibration can fit."""
    odds = task("probabilities").logits(tensor([[0.0], [1.0], [0.5]]))[:, 0].tolist()
    assert odds[0] == pytest.approx(-16.1, abs=0.1)
    assert odds[1] == pytest.approx(16, abs=0.2)
    assert odds[2] == 0


def test_its_threshold_can_be_replaced() -> None:
    """In a copy of the head."""
    one = task(threshold=0.25)
    assert (one.threshold_labels, one.most_top_k, one.num_label_columns) == (["yes"], None, 1)
    assert one.with_threshold(0.5).threshold == 0.5
    assert one.head.threshold == 0.25


NAMES = ["prediction", "probability"]


@pytest.mark.parametrize(
    ("values", "column", "wanted"),
    [
        (np.array(["yes", "no"]), "prediction", ["yes", "no"]),
        (np.array([0.25, 0.75]), "probability", [0.25, 0.75]),
        (np.array([[0.75, 0.25], [0.5, 0.5]]), "probability", [0.25, 0.5]),
    ],
)
def test_expected_arrays(values: np.ndarray, column: str, wanted: list[Any]) -> None:
    """Labels, probabilities of the second label, or of both."""
    ((name, found),) = task().expected_columns(values, NAMES).items()
    assert (name, found.tolist()) == (column, wanted)


def test_expected_floats_that_are_labels() -> None:
    """Are labels, not probabilities."""
    one = BinaryTask(BinaryHead(outputs="logits", labels=[0.0, 1.0]))
    assert list(one.expected_columns(np.array([0.0, 1.0, 1.0]), NAMES)) == ["prediction"]
    assert list(one.expected_columns(np.array([0.0, 0.5]), NAMES)) == ["probability"]


def test_an_expected_array_of_another_shape() -> None:
    """Is refused, with the shapes that are accepted."""
    with pytest.raises(BundleError, match=r"expected is float64 \[2, 3\]; pass labels \[rows\] or prob"):
        task().expected_columns(np.zeros((2, 3)), NAMES)
