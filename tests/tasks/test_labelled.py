"""Tasks with labels: types, names of columns, and the scores that attributions explain."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.tasks.binary import BinaryTask
from scoreline.pipeline.tasks.labelled import label_array, prediction_of_each
from scoreline.pipeline.tasks.multiclass import MulticlassTask
from scoreline.pipeline.tasks.multilabel import MultilabelTask
from scoreline.schemas.heads import BinaryHead, MulticlassHead, MultilabelHead


@pytest.mark.parametrize(
    ("labels", "arrow_type"),
    [
        (["a", "é", ""], pa.string()),
        ([0, -(2**63), 2**63 - 1], pa.int64()),
        ([False, True], pa.bool_()),
        ([0.5, 1.0], pa.float64()),
    ],
)
def test_labels_keep_their_type(labels: list[Any], arrow_type: pa.DataType) -> None:
    """And their values."""
    found = label_array(labels)
    assert found.type == arrow_type
    assert found.to_pylist() == labels


def test_the_names_of_columns() -> None:
    """By the label as text; lists have one column."""
    task = MulticlassTask(MulticlassHead(outputs="logits", labels=[10, 20]))
    assert [f.name for f in task.probability_fields(ColumnOptions())] == ["probability_10", "probability_20"]
    (lists,) = task.probability_fields(ColumnOptions(probabilities="list"))
    assert (lists.name, lists.type) == ("probabilities", pa.list_(pa.float32(), 2))
    assert task.probability_fields(ColumnOptions(probabilities="none")) == []
    assert (task.width, task.labels, task.outputs, task.label_type) == (2, [10, 20], "logits", pa.int64())
    assert prediction_of_each([1, "x"]) == [pa.field("prediction_1", pa.bool_()), pa.field("prediction_x", pa.bool_())]


def test_targets_of_attributions() -> None:
    """Every label, and the predicted one unless several can be predicted."""
    single = MulticlassTask(MulticlassHead(outputs="logits", labels=[1, 2]))
    assert list(single.explain_targets()) == [(("1",), 0), (("2",), 1), ((), None)]
    several = MultilabelTask(MultilabelHead(outputs="logits", labels=["a"], thresholds=[0.5]))
    assert list(several.explain_targets()) == [(("a",), 0)]


def test_scores_of_several_outputs() -> None:
    """The raw output of the class of each row."""
    task = MulticlassTask(MulticlassHead(outputs="logits", labels=[1, 2, 3]))
    raw = torch.arange(6.0).reshape(2, 3)
    assert task.score(raw, torch.tensor([2, 0])).tolist() == [2.0, 3.0]
    only = MultilabelTask(MultilabelHead(outputs="logits", labels=["a"], thresholds=[0.5]))
    assert only.score(torch.tensor([[1.5], [-2.0]]), torch.tensor([0, 0])).tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("outputs", "second", "first"),
    [("logits", 1.5, -1.5), ("probabilities", 0.75, 0.25), ("log_probabilities", np.log(0.75), np.log(0.25))],
)
def test_scores_of_one_output_for_two_labels(outputs: Any, second: float, first: float) -> None:
    """That of the first label is derived from that of the second, and both have gradients."""
    task = BinaryTask(BinaryHead(outputs=outputs, labels=["n", "y"]))
    raw = torch.tensor([[second], [second]], dtype=torch.float64, requires_grad=True)
    score = task.score(raw, torch.tensor([1, 0]))
    assert score.tolist() == pytest.approx([second, first])
    (gradient,) = torch.autograd.grad(score.sum(), raw)
    assert gradient[0, 0] == 1
    assert gradient[1, 0] < 0
