"""What a head of a bundle may say: labels that can be told apart, thresholds and calibrations that fit."""

from typing import Any

import pytest
from pydantic import ValidationError
from scoreline.schemas.heads import BinaryHead, MulticlassHead, MultilabelHead, Platt, Temperature, quantile_name

LOGITS: dict[str, Any] = {"outputs": "logits"}


@pytest.mark.parametrize(
    "labels", [["no", "yes"], [0, 1], [False, True], [-0.5, 2.5], ["", " "], [2**63 - 1, -(2**63)]]
)
def test_labels_keep_their_type_in_json(labels: list[Any]) -> None:
    """`true` does not become 1, nor 1 become 1.0."""
    head = BinaryHead(**LOGITS, labels=labels)
    back = BinaryHead.model_validate_json(head.model_dump_json())
    assert back.labels == labels
    assert [type(label) for label in back.labels] == [type(label) for label in labels]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["a", 1], "labels must be of one type"),
        ([True, 1], "labels must be of one type"),
        (["a", "b", "a"], "label 'a' appears twice"),
        ([2**63, 0], "does not fit into int64"),
        (["a"], "at least 2"),
        (["\ud800", "b"], "surrogates"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels: list[Any], says: str) -> None:
    """Or that no file can hold."""
    with pytest.raises(ValidationError, match=says):
        MulticlassHead(**LOGITS, labels=labels)


def test_a_calibration_fits_its_head() -> None:
    """A pair of numbers for each label, a temperature for several classes."""
    two = Platt(slope=[1.0, 2.0], intercept=[0.0, 0.5])
    assert MultilabelHead(**LOGITS, labels=["a", "b"], thresholds=[0.5, 0.4], calibration=two).calibration == two
    warm = Temperature(temperature=1.5)
    assert MulticlassHead(**LOGITS, labels=["a", "b"], calibration=warm).calibration == warm
    with pytest.raises(ValidationError, match="2 slopes and 2 intercepts, not 1"):
        BinaryHead(**LOGITS, labels=["a", "b"], calibration=two)
    with pytest.raises(ValidationError, match="takes a temperature"):
        MulticlassHead(**LOGITS, labels=["a", "b"], calibration=two)
    with pytest.raises(ValidationError, match="greater than 0"):
        Temperature(temperature=0)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_are_probabilities(threshold: float) -> None:
    """Of each label one."""
    with pytest.raises(ValidationError):
        BinaryHead(**LOGITS, labels=["a", "b"], threshold=threshold)
    with pytest.raises(ValidationError, match="1 thresholds for 2 labels"):
        MultilabelHead(**LOGITS, labels=["a", "b"], thresholds=[0.5])


@pytest.mark.parametrize(("quantile", "name"), [(0.1, "p10"), (0.025, "p2_5"), (0.5, "p50"), (0.999, "p99_9")])
def test_quantiles_are_named_by_their_percentage(quantile: float, name: str) -> None:
    """As columns are."""
    assert quantile_name(quantile) == name
