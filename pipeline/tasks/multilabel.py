"""Multilabel classification: `[rows, labels]` → per label whether it is predicted, and its probability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...schemas.heads import MultilabelHead
from ..arrays import to_arrow
from ..errors import BundleError, counted, shape_text
from ..options import ColumnOptions
from .labelled import ClassTask
from .probabilities import (
    class_logits,
    finite_rows,
    float_column,
    log_odds,
    logistic,
    out_of_bounds,
    platt,
    probability_columns,
    yes_probabilities,
)
from .task import PREDICTION, STD, HeadColumns, some_numbers, split_members

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble


class MultilabelTask(ClassTask[MultilabelHead]):
    """Any number of labels. A label is predicted if its probability is above its threshold."""

    name = "multilabel"
    independent_labels = True
    calibrations = ("platt",)

    @property
    def num_label_columns(self) -> int:
        """One boolean column per label."""
        return len(self.labels)

    def describe(self) -> Iterator[str]:
        """The thresholds."""
        yield f"thresholds {some_numbers(self.head.thresholds)}"
        yield from super().describe()

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:
        """Per label `prediction_<label>`, `probability_<label>` and `prediction_std_<label>`."""
        return [
            *(pa.field(f"{PREDICTION}_{label}", pa.bool_()) for label in self.labels),
            *self.probability_fields(options),
            *(pa.field(f"{STD}_{label}", pa.float64()) for label in self.labels if std),
        ]

    @property
    def threshold_labels(self) -> list[str]:
        """Every label has its own threshold."""
        return [str(label) for label in self.labels]

    def with_threshold(self, value: float, index: int | None = None) -> MultilabelHead:
        """The head with another threshold, for the label at `index` or for all."""
        new = [value if index in (None, at) else before for at, before in enumerate(self.head.thresholds)]
        return self.head.model_copy(update={"thresholds": new})

    def decode(
        self, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """The columns listed by `fields`."""
        head, spread = self.head, []
        raw = split_members(raw, ensemble, num_members)
        single = yes_probabilities(head.outputs, raw)
        together = single if ensemble is None else _combined(head, raw, single, ensemble)
        probabilities = together.T.contiguous()
        if ensemble is not None and ensemble.std:
            spread = [float_column(column) for column in single.double().std(dim=1, correction=0).T]
        if head.calibration is not None:
            odds = class_logits(head.outputs, raw).T if ensemble is None else log_odds(probabilities)
            probabilities = platt(head.calibration, odds.double()).float()
        limits = probabilities.new_tensor(head.thresholds)[:, None]
        predictions = [to_arrow(column.numpy()) for column in (probabilities > limits)]
        return HeadColumns(
            columns=[*predictions, *probability_columns(probabilities, options), *spread],
            finite=finite_rows(probabilities),
            out_of_bounds=out_of_bounds(head, probabilities),
        )

    def logits(self, raw: Tensor, ensemble: Ensemble | None = None, num_members: int = 1) -> Tensor:
        """The log-odds of each label, `[rows, labels]`."""
        if ensemble is None:
            return class_logits(self.head.outputs, raw)
        raw = split_members(raw, ensemble, num_members)
        return log_odds(_combined(self.head, raw, yes_probabilities(self.head.outputs, raw), ensemble))

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """The probability of each label, `[rows, labels]`."""
        found, values = self.head.calibration, logits.double()
        return np.asarray((logistic(values) if found is None else platt(found, values.T).T).numpy())

    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """Booleans or probabilities, `[rows, labels]`."""
        if values.shape != (len(values), len(self.labels)):
            raise BundleError(
                f"expected has the shape {shape_text(values.shape)}, but the model has"
                f" {counted(len(self.labels), 'label')}"
            )
        if values.dtype.kind in "bi":
            return dict(zip(names, values.astype(np.bool_).T, strict=False))
        return dict(zip(names[len(self.labels) :], values.astype(np.float32).T, strict=False))


def _combined(head: MultilabelHead, raw: Tensor, single: Tensor, ensemble: Ensemble) -> Tensor:
    if ensemble.combine == "logit":
        return class_logits(head.outputs, raw).mean(dim=1).sigmoid()
    if ensemble.combine == "vote":
        return (single > 0.5).float().mean(dim=1) + 0.0 * single.sum(dim=1)  # NaN stays NaN
    return single.mean(dim=1)
