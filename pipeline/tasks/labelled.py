"""The common base of tasks whose outputs are labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from ...schemas.heads import ClassHead, Label, LabelledHead
from ..arrays import text_array, to_arrow
from ..errors import BundleError, counted, shape_text
from .task import PREDICTION, Task

if TYPE_CHECKING:
    from torch import Tensor

    from ..options import ColumnOptions

LabelledT = TypeVar("LabelledT", bound=LabelledHead)
ClassT = TypeVar("ClassT", bound=ClassHead)


def label_array(labels: Sequence[Label]) -> pa.Array:
    """Labels as an array with the type of the `prediction` column: string, int64, bool or double."""
    if all(isinstance(label, str) for label in labels):
        return _text_labels(tuple(map(str, labels)))
    return to_arrow(np.array(labels))


@lru_cache(maxsize=64)
def _text_labels(labels: tuple[str, ...]) -> pa.Array:
    return text_array(labels)


class LabelledTask(Task[LabelledT]):
    """A task whose raw output has one number per label."""

    width_hint = "list one label for each output of the model"

    @property
    def width(self) -> int:
        """One number per label."""
        return len(self.head.labels)

    @property
    def labels(self) -> list[Label]:
        """The labels, in the order of the model's outputs."""
        return self.head.labels

    @property
    def outputs(self) -> str | None:
        """The meaning of the model's numbers."""
        return self.head.outputs

    @property
    def label_type(self) -> pa.DataType:
        """The type of a predicted label."""
        return label_array(self.head.labels).type

    @property
    def counted_outputs(self) -> str:
        """The number of labels."""
        return counted(self.width, "label")

    def probability_fields(self, options: ColumnOptions) -> list[pa.Field]:
        """One column per label, or one column of lists, or none."""
        if options.probabilities == "none":
            return []
        if options.probabilities == "list":
            return [pa.field("probabilities", pa.list_(pa.float32(), self.width))]
        return [pa.field(f"probability_{label}", pa.float32()) for label in self.labels]

    def explain_targets(self) -> Iterator[tuple[tuple[str, ...], int | None]]:
        """Every label; and the predicted label of each row, if exactly one is predicted."""
        yield from (((str(label),), index) for index, label in enumerate(self.labels))
        if not self.independent_labels:
            yield (), None

    def score(self, raw: Tensor, indices: Tensor) -> Tensor:
        """The raw output of a class before any calibration: a logit, a probability or its logarithm. If there are two
        labels and one output, it is that of the second label; that of the first is the negative logit, or 1 −
        probability."""
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
            f"expected is {values.dtype} {shape_text(values.shape)}; pass labels [rows] or probabilities"
            f" [rows, {len(self.labels)}]"
        )


class ClassTask(LabelledTask[ClassT]):
    """A task with labels per row, whose probabilities can be calibrated."""

    @property
    def num_label_columns(self) -> int:
        """One, the predicted label."""
        return 1

    def describe(self) -> Iterator[str]:
        """The kind of calibration, if any."""
        if self.head.calibration is not None:
            yield f"calibrated ({self.head.calibration.kind})"
        yield from super().describe()


def prediction_of_each(labels: Sequence[Label]) -> list[pa.Field]:
    """A boolean column per label."""
    return [pa.field(f"{PREDICTION}_{label}", pa.bool_()) for label in labels]
