"""What tasks share whose outputs are labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from ...schemas.heads import ClassHead, Label, LabelledHead
from ..arrays import text_array
from ..errors import BundleError
from .task import PREDICTION, Task

if TYPE_CHECKING:
    from torch import Tensor

    from ..options import ColumnOptions

LabelledT = TypeVar("LabelledT", bound=LabelledHead)
ClassT = TypeVar("ClassT", bound=ClassHead)


def label_array(labels: Sequence[Label]) -> pa.Array:
    """Labels as the type of the `prediction` column: string, int64, bool or double."""
    if all(isinstance(label, str) for label in labels):
        return text_array([str(label) for label in labels])
    return pa.array(labels)


class LabelledTask(Task[LabelledT]):
    """Outputs that give each label a number."""

    @property
    def width(self) -> int:
        """One number for each label."""
        return len(self.head.labels)

    @property
    def labels(self) -> list[Label]:
        """In the order of the model's outputs."""
        return self.head.labels

    @property
    def outputs(self) -> str | None:
        """What the model's numbers are."""
        return self.head.outputs

    @property
    def label_type(self) -> pa.DataType:
        """The type of a predicted label."""
        return label_array(self.head.labels).type

    def probability_fields(self, options: ColumnOptions) -> list[pa.Field]:
        """A column for each label, or one of lists, or none."""
        if options.probabilities == "none":
            return []
        if options.probabilities == "list":
            return [pa.field("probabilities", pa.list_(pa.float32(), self.width))]
        return [pa.field(f"probability_{label}", pa.float32()) for label in self.labels]

    def explain_targets(self) -> Iterator[tuple[tuple[str, ...], int | None]]:
        """Every label; and the predicted one of each row, where one is predicted."""
        yield from (((str(label),), index) for index, label in enumerate(self.labels))
        if not self.independent_labels:
            yield (), None

    def score(self, raw: Tensor, indices: Tensor) -> Tensor:
        """The raw output of a class as the model gives it, before any calibration: a logit, a probability or its
        logarithm. Of two labels and one output that is the second's; the first has what is left: the negative logit, or
        one less the probability."""
        if raw.shape[1] > 1 or len(self.labels) == 1:
            return raw.gather(1, indices[:, None])[:, 0]
        second = raw[:, 0]
        if self.outputs == "logits":
            first = -second
        elif self.outputs == "probabilities":
            first = 1 - second
        else:
            first = (-second.expm1()).log()
        return second.where(indices == 1, first)

    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """Labels `[rows]`, or probabilities `[rows, labels]`."""
        if values.ndim == 1 and (values.dtype.kind != "f" or set(values.tolist()) <= set(self.labels)):
            return {names[0]: values}
        if values.ndim == 2 and values.shape[1] == len(self.labels):
            return {name: values[:, at].astype(np.float32) for at, name in enumerate(names[1 : 1 + len(self.labels)])}
        raise BundleError(
            f"expected is {values.dtype} of shape {values.shape}; give labels [rows], or probabilities"
            f" [rows, {len(self.labels)}]"
        )


class ClassTask(LabelledTask[ClassT]):
    """Labels of a row, whose probabilities can be calibrated."""

    @property
    def num_label_columns(self) -> int:
        """The predicted label."""
        return 1

    def describe(self) -> Iterator[str]:
        """Whether it is calibrated."""
        if self.head.calibration is not None:
            yield f"calibrated ({self.head.calibration.kind})"
        yield from super().describe()


def prediction_of_each(labels: Sequence[Label]) -> list[pa.Field]:
    """A column of yes or no for each label."""
    return [pa.field(f"{PREDICTION}_{label}", pa.bool_()) for label in labels]
