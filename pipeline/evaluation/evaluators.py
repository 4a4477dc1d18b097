"""The evaluators, by task. A task without one cannot be evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.run import HeadRecord
from ..arrays import to_numpy
from ..arrow_types import is_list
from ..errors import counted
from ..nested import keep
from ..plain import plain, whole
from .labels import Known, LabelError, binary_truths, label_indices, true_numbers
from .metrics import ClassMetrics, QuantileMetrics, RegressionMetrics


@dataclass(kw_only=True, slots=True)
class Evaluation:
    """The evaluation of one head. `rows`: the number of units (each a row or a step) with a true label; `unlabelled`:
    without. `classes`: metrics of a classification, whose labels are `names`; `labels`: of each label of a multilabel
    head; `targets`, `quantiles`: of a regression, by column."""

    head: HeadRecord
    names: list[str] = field(default_factory=list)
    unit: str = "row"
    rows: int = 0
    unlabelled: int = 0
    classes: ClassMetrics | None = None
    labels: dict[str, ClassMetrics] = field(default_factory=dict)
    exact_rows: int = 0
    targets: dict[str, RegressionMetrics] = field(default_factory=dict)
    quantiles: dict[str, QuantileMetrics] = field(default_factory=dict)


class PredictionError(LabelError):
    """A prediction is not a label: the output is damaged."""


class Evaluator(ABC):
    """Compares the predictions of a task with the true labels."""

    #: The unit that is counted.
    unit: ClassVar[str] = "row"

    def num_columns(self, head: HeadRecord) -> int:  # noqa: ARG002 - one for most
        """The number of columns with true labels."""
        return 1

    @abstractmethod
    def truth(self, labels: Sequence[Any], columns: Sequence[Any], names: Sequence[str]) -> tuple[Any, Known]:
        """The true labels, converted for the task, and which rows have one.

        Raises:
            LabelError: a value is not a label.
        """

    @abstractmethod
    def start(self, head: HeadRecord) -> Evaluation:
        """An evaluation without rows."""

    @abstractmethod
    def add(self, found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> Known:
        """Add a batch of predictions and true labels. Returns which rows, or steps, have a label.

        Raises:
            PredictionError: a prediction is not a label.
            LabelError: a true value is not one.
        """


class ClassEvaluator(Evaluator):
    """One label among several for each row."""

    def truth(self, labels: Sequence[Any], columns: Sequence[Any], names: Sequence[str]) -> tuple[Any, Known]:
        """The index of each row's label."""
        return label_indices(columns[0], labels, names[0])

    def start(self, head: HeadRecord) -> Evaluation:
        """An evaluation with metrics of classes."""
        names = [str(label) for label in head.labels]
        return Evaluation(head=head, names=names, unit=self.unit, classes=ClassMetrics(len(names)))

    def add(self, found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> Known:
        """Add labels, and probabilities if they were written."""
        assert found.classes is not None, "set by `start`"
        head = found.head
        truth, known = self.truth(head.labels, truths, names)
        predicted = _predicted(rows.column(head.columns[0]), head)
        probabilities = _probabilities(head, rows, "prediction")
        found.classes.add(truth[known], predicted[known], None if probabilities is None else probabilities[known])
        return known


class StepEvaluator(ClassEvaluator):
    """One label among several for each step of a row."""

    unit = "step"

    def add(self, found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> Known:
        """Add lists of labels."""
        assert found.classes is not None, "set by `start`"
        head = found.head
        lists = plain(rows.column(head.columns[0]))
        right, predicted_steps, of_rows = _steps(lists, truths[0], names[0])
        try:
            truth, known = self.truth(head.labels, [right], names)
            predicted = _predicted(predicted_steps, head)
        except LabelError as error:
            if error.row is None:
                raise
            raise error.at(int(of_rows[error.row])) from error
        found.classes.add(truth[known], predicted[known], None)
        without_list = len(lists.flatten()) - len(right)
        return np.concatenate([known, np.zeros(without_list, dtype=bool)])


class MultilabelEvaluator(Evaluator):
    """Yes or no for each label."""

    def num_columns(self, head: HeadRecord) -> int:
        """One for each label."""
        return len(head.labels)

    def truth(
        self,
        labels: Sequence[Any],  # noqa: ARG002 - one column per label
        columns: Sequence[Any],
        names: Sequence[str],
    ) -> tuple[Any, Known]:
        """bool `[rows, labels]`."""
        return binary_truths(columns, names)

    def start(self, head: HeadRecord) -> Evaluation:
        """An evaluation with metrics of each label."""
        return Evaluation(head=head, labels={str(label): ClassMetrics(2) for label in head.labels})

    def add(self, found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> Known:
        """Add yes or no for each label, and probabilities if they were written."""
        head = found.head
        matrix, known = self.truth(head.labels, truths, names)
        predicted = np.stack([to_numpy(whole(rows.column(n))) for n in head.columns[: len(head.labels)]], axis=1)
        probabilities = _probabilities(head, rows, f"prediction_{head.labels[0]}")
        found.exact_rows += int((matrix == predicted).all(axis=1)[known].sum())
        for index, metrics in enumerate(found.labels.values()):
            yes = None if probabilities is None else probabilities[known, index]
            both = None if yes is None else np.stack([1 - yes, yes], axis=1)
            metrics.add(matrix[known, index].astype(np.int64), predicted[known, index].astype(np.int64), both)
        return known


class FlagEvaluator(Evaluator):
    """Whether a number is rightly above a threshold."""

    def truth(
        self,
        labels: Sequence[Any],  # noqa: ARG002 - yes or no
        columns: Sequence[Any],
        names: Sequence[str],
    ) -> tuple[Any, Known]:
        """bool `[rows]`."""
        matrix, known = binary_truths(columns, names)
        return matrix[:, 0], known

    def start(self, head: HeadRecord) -> Evaluation:
        """An evaluation with metrics of yes and no."""
        return Evaluation(head=head, names=["no", "yes"], classes=ClassMetrics(2))

    def add(self, found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> Known:
        """Add flags, and the numbers as scores for the ranking."""
        assert found.classes is not None, "set by `start`"
        right, known = self.truth([], truths, names)
        number, flag = (to_numpy(whole(rows.column(found.head.columns[at]))) for at in (0, -1))
        truth = right[known].astype(np.int64)
        found.classes.add(truth, flag[known].astype(np.int64), None)
        found.classes.rank(truth, np.asarray(number[known], dtype=np.float64))
        return known


class RegressionEvaluator(Evaluator):
    """One number per target, or one per quantile."""

    def num_columns(self, head: HeadRecord) -> int:
        """One for each target."""
        return max(1, len(head.targets))

    def truth(
        self,
        labels: Sequence[Any],  # noqa: ARG002 - a regression has none
        columns: Sequence[Any],
        names: Sequence[str],
    ) -> tuple[Any, Known]:
        """float64 `[rows]` for each target."""
        pairs = [true_numbers(column, name) for column, name in zip(columns, names, strict=True)]
        return [values for values, _ in pairs], np.logical_and.reduce([there for _, there in pairs])

    def start(self, head: HeadRecord) -> Evaluation:
        """An evaluation with metrics of each target, or of each quantile."""
        found = Evaluation(head=head)
        for column, quantile in zip(head.columns, head.quantiles, strict=False):
            found.quantiles[column] = QuantileMetrics(quantile)
        if not head.quantiles:
            found.targets = {column: RegressionMetrics() for column in head.columns[: self.num_columns(head)]}
        return found

    def add(self, found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> Known:
        """Add numbers."""
        right, known = self.truth([], truths, names)
        wanted: dict[str, RegressionMetrics | QuantileMetrics] = {**found.targets, **found.quantiles}
        steps = max(1, len(found.head.horizons))  # columns: horizons × quantiles × targets; truths: horizons × targets
        each, targets = len(wanted) // steps, len(right) // steps
        for index, (column, one) in enumerate(wanted.items()):
            values = to_numpy(whole(rows.column(column)))
            one.add(right[index // each * targets + index % targets][known], values[known])
        return known


def evaluator_of(head: HeadRecord) -> Evaluator | None:
    """The evaluator of a head; None if its predictions cannot be evaluated."""
    return FlagEvaluator() if head.threshold is not None else EVALUATORS.get(head.task)


EVALUATORS: dict[str, Evaluator] = {
    "binary": ClassEvaluator(),
    "multiclass": ClassEvaluator(),
    "multilabel": MultilabelEvaluator(),
    "regression": RegressionEvaluator(),
    "tagging": StepEvaluator(),
}


def _predicted(column: Any, head: HeadRecord) -> NDArray[np.int64]:
    """The index of each predicted label."""
    try:
        return label_indices(column, head.labels, head.columns[0])[0]
    except LabelError as error:
        raise PredictionError(str(error), column=error.column, row=error.row) from error


def _steps(predicted: pa.Array, column: Any, name: str) -> tuple[pa.Array, pa.Array, NDArray[np.int64]]:
    """The true and predicted labels of every step, of the rows with true labels, and the row of each.

    Raises:
        LabelError: a column without lists, or a list with another number of steps.
    """
    truth = plain(column)
    if not is_list(truth.type):
        message = f"label column {name!r} is {column.type}; tagging needs a list of labels for each row"
        raise LabelError(message, column=name)
    known = truth.is_valid()
    of_rows = np.flatnonzero(to_numpy(known))
    right, predicted_steps = keep(truth, known), keep(predicted, known)
    num_right, num_predicted = (pc.list_value_length(lists).cast(pa.int64()) for lists in (right, predicted_steps))
    apart = pc.not_equal(num_right, num_predicted)
    if pc.any(apart).as_py():
        row = pc.index(apart, True).as_py()
        raise LabelError(
            f"label column {name!r} has {counted(len(right[row]), 'label')} in a row of"
            f" {counted(len(predicted_steps[row]), 'step')}; each step needs one label",
            column=name,
            row=int(of_rows[row]),
        )
    return right.flatten(), predicted_steps.flatten(), np.repeat(of_rows, to_numpy(num_right))


def _probabilities(head: HeadRecord, rows: Any, first: str) -> np.ndarray | None:
    """float32 `[rows, labels]`, None if they were not written; for a binary head from those of the second label.

    Args:
        first: the name of the head's first column, without its prefix.
    """
    base = head.columns[0].removesuffix(first)
    if f"{base}probabilities" in head.columns:
        flat = whole(rows.column(f"{base}probabilities")).flatten()
        return np.asarray(to_numpy(flat)).reshape(rows.num_rows, -1)
    if f"{base}probability" in head.columns:
        yes = np.asarray(to_numpy(whole(rows.column(f"{base}probability"))))
        return np.stack([1 - yes, yes], axis=1)
    names = [f"{base}probability_{label}" for label in head.labels]
    if not set(names) <= set(head.columns):
        return None
    return np.stack([np.asarray(to_numpy(whole(rows.column(name)))) for name in names], axis=1)
