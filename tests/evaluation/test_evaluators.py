"""The evaluators on batches of predictions: what counts as a row with a label, and where probabilities are found."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.evaluation.evaluators import EVALUATORS, Evaluation, PredictionError
from scoreline.pipeline.evaluation.labels import LabelError
from scoreline.schemas.run import HeadRecord


def head(task: str, columns: list[str], **more: Any) -> HeadRecord:
    """A head as run.json describes it."""
    given = {"name": "output", "labels": [], "targets": [], "quantiles": [], **more}
    return HeadRecord(task=task, columns=columns, **given)


def evaluated(given: HeadRecord, rows: dict[str, Any], *truths: Any) -> tuple[Evaluation, list[bool]]:
    """Evaluate one batch. Returns which rows have a label, too."""
    evaluator = EVALUATORS[given.task]
    found = evaluator.start(given)
    arrays = [truth if isinstance(truth, pa.Array) else pa.array(truth) for truth in truths]
    names = [f"y{number}" for number in range(len(arrays))]
    known = evaluator.add(found, pa.table(rows), arrays, names)
    assert evaluator.num_columns(given) == len(arrays)
    return found, known.tolist()


P = np.array([0.25, 0.5, 0.875], dtype=np.float32)
LISTS = pa.array([[1 - p, p] for p in P.tolist()], pa.list_(pa.float32(), 2))


@pytest.mark.parametrize(
    ("prefix", "columns"),
    [
        ("", {"probability": P}),
        ("p_", {"p_probabilities": LISTS}),
        ("", {"probability_no": 1 - P, "probability_yes": P}),
    ],
)
def test_probabilities_in_every_form(prefix: str, columns: dict[str, Any]) -> None:
    """Of the second label alone, as a list, or in a column for each label; with a prefix."""
    rows = {f"{prefix}prediction": ["no", "yes", "yes"], **columns}
    given = head("binary", list(rows), labels=["no", "yes"])
    found, known = evaluated(given, rows, ["no", None, "yes"])
    assert known == [True, False, True]
    assert found.classes is not None
    assert found.classes.confusion.tolist() == [[1, 0], [0, 1]]
    assert found.classes.log_loss == pytest.approx(-np.log([0.75, 0.875]).mean())
    assert found.classes.brier == pytest.approx(np.square([0.25, 0.125]).mean())


def test_some_of_the_probabilities() -> None:
    """Those of the most likely labels are not all: there are no measures of them."""
    rows = {"prediction": ["a", "b"], "top_1": ["a", "b"], "probability_a": [0.5, 0.25]}
    found, _ = evaluated(head("multiclass", list(rows), labels=["a", "b", "c"]), rows, ["a", "a"])
    assert found.classes is not None
    assert (found.classes.log_loss, found.classes.accuracy) == (None, 0.5)


def test_several_labels_per_row() -> None:
    """A row counts as right only if it has all labels, and all are right."""
    rows = {
        "prediction_u": [True, True, False, False], "prediction_v": [False, True, False, True],
        "probability_u": P[[2, 2, 0, 0]], "probability_v": P[[0, 2, 0, 2]],
    }  # fmt: skip
    found, known = evaluated(
        head("multilabel", list(rows), labels=["u", "v"]), rows, [1, 1, None, 0], [False, False, False, True]
    )
    assert known == [True, True, False, True]
    assert found.exact_rows == 2
    assert {name: one.confusion.tolist() for name, one in found.labels.items()} == {
        "u": [[1, 0], [0, 2]], "v": [[1, 1], [0, 1]],
    }  # fmt: skip
    assert found.labels["u"].aucs()[0].value == 1


def test_targets() -> None:
    """A row counts only if it has a value of each target."""
    rows = {"prediction_u": [1.0, 2.0, 3.0], "prediction_v": [1.0, 1.0, 1.0]}
    given = head("regression", list(rows), targets=["u", "v"])
    found, known = evaluated(given, rows, [2.0, None, 5.0], [1.0, 1.0, 4.0])
    assert known == [True, False, True]
    assert {name: (one.rows, one.mae) for name, one in found.targets.items()} == {
        "prediction_u": (2, 1.5), "prediction_v": (2, 1.5),
    }  # fmt: skip


def test_quantiles_of_targets() -> None:
    """Grouped by quantile: all targets of the first, then of the second."""
    columns = ["prediction_p10_u", "prediction_p10_v", "prediction_p90_u", "prediction_p90_v"]
    rows = {name: [float(number)] * 2 for number, name in enumerate(columns)}
    given = head("regression", columns, targets=["u", "v"], quantiles=[0.1, 0.1, 0.9, 0.9])
    found, _ = evaluated(given, rows, [0.0, 1.0], [3.0, 3.0])
    assert not found.targets
    assert [(one.quantile, one.coverage) for one in found.quantiles.values()] == [
        (0.1, 0.5), (0.1, 0.0), (0.9, 1.0), (0.9, 1.0),
    ]  # fmt: skip


class TestSteps:
    """Lists of labels."""

    TAGS = head("tagging", ["prediction"], labels=["a", "b"])

    def test_steps_with_labels(self) -> None:
        """Neither a step nor the list of a row needs a label: both count as steps without one."""
        rows = {"prediction": [["a", "b"], ["a"], ["b", "b", "a"]]}
        found, known = evaluated(self.TAGS, rows, pa.array([["a", "a"], None, ["b", None, "b"]]))
        assert known == [True, True, True, False, True, False]
        assert found.classes is not None
        assert (found.unit, found.classes.confusion.tolist()) == ("step", [[1, 1], [1, 1]])

    @pytest.mark.parametrize(
        ("truth", "says"),
        [
            (["a"], "label column 'y0' has 1 label in a row of 2 steps; each step needs one label"),
            (["a", "b", "a"], "label column 'y0' has 3 labels in a row of 2 steps; each step needs one label"),
        ],
    )
    def test_other_lengths(self, truth: list[str], says: str) -> None:
        """More labels, or fewer."""
        with pytest.raises(LabelError) as raised:
            evaluated(self.TAGS, {"prediction": [["a"], ["a"], ["a", "b"]]}, pa.array([["a"], None, truth]))
        assert (str(raised.value), raised.value.row) == (says, 2)

    def test_the_row_of_a_step_without_a_label(self) -> None:
        """Not the number of the step; also of predictions, which cannot be wrong unless the output is damaged."""
        with pytest.raises(LabelError, match="contains 'c'") as raised:
            evaluated(self.TAGS, {"prediction": [["a", "b"], [], ["a"]]}, pa.array([["a", "a"], [], ["c"]]))
        assert (raised.value.column, raised.value.row) == ("y0", 2)
        with pytest.raises(PredictionError, match="contains 'c'") as damaged:
            evaluated(self.TAGS, {"prediction": [["a", "b"], ["b"], ["c"]]}, pa.array([["a", "a"], None, ["b"]]))
        assert (damaged.value.column, damaged.value.row) == ("prediction", 2)

    def test_labels_that_are_no_lists(self) -> None:
        """The type is named."""
        with pytest.raises(DataError, match="label column 'y0' is string; tagging needs a list"):
            evaluated(self.TAGS, {"prediction": [["a"]]}, ["a"])
