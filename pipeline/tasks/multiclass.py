"""Multiclass classification: `[rows, labels]` → label, probabilities, the most likely labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ...schemas.heads import MulticlassHead, Temperature
from ..options import ColumnOptions
from .labelled import ClassTask
from .probabilities import (
    FEW_LABELS,
    Outputs,
    by_label,
    combined,
    finite_rows,
    float_column,
    labels_at,
    log_probabilities,
    out_of_bounds,
    probability_columns,
)
from .task import PREDICTION, STD, HeadColumns, split_members

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble

#: A power of two, more than there are labels in `FEW_LABELS`.
LABEL_STEP = 64


class MulticlassTask(ClassTask[MulticlassHead]):
    """One of several labels: the one with the largest raw output; ties go to the lowest label."""

    name = "multiclass"
    calibrations = ("temperature",)

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:
        """`prediction`, a `probability_<label>` per label, `top_1`, `top_1_probability` …, `prediction_std`."""
        top = []
        for rank in range(1, (options.top_k or 0) + 1):
            top += [pa.field(f"top_{rank}", self.label_type), pa.field(f"top_{rank}_probability", pa.float32())]
        return [
            pa.field(PREDICTION, self.label_type),
            *self.probability_fields(options),
            *top,
            *([pa.field(STD, pa.float64())] if std else []),
        ]

    @property
    def most_top_k(self) -> int:
        """The number of labels."""
        return len(self.labels)

    def decode(
        self, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """The columns listed by `fields`."""
        head, outputs = self.head, self.head.outputs
        spread: list[pa.Array] = []
        raw = split_members(raw, ensemble, num_members)
        if ensemble is not None:
            raw, std = combined(outputs, raw, ensemble)
            outputs = "probabilities"
            spread = [float_column(std)] if ensemble.std else []
        if isinstance(head.calibration, Temperature):
            probabilities, indices = by_label("logits", _as_logits(outputs, raw) / head.calibration.temperature)
        else:
            probabilities, indices = by_label(outputs, raw)
        most_likely = [] if options.top_k is None else _top(head, raw, probabilities, options.top_k)
        return HeadColumns(
            columns=[
                labels_at(indices, head.labels),
                *probability_columns(probabilities, options),
                *most_likely,
                *spread,
            ],
            finite=finite_rows(probabilities),
            out_of_bounds=out_of_bounds(head, probabilities, sums_to_one=True),
        )

    def logits(self, raw: Tensor, ensemble: Ensemble | None = None, num_members: int = 1) -> Tensor:
        """The inputs of the softmax, `[rows, labels]`."""
        if ensemble is None:
            return _as_logits(self.head.outputs, raw)
        raw = split_members(raw, ensemble, num_members)
        return _as_logits("probabilities", combined(self.head.outputs, raw, ensemble)[0])

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """The probabilities of all labels, `[rows, labels]`."""
        found, values = self.head.calibration, logits.double()
        values = values / found.temperature if isinstance(found, Temperature) else values
        return np.asarray(values.softmax(dim=1).numpy())


def _as_logits(outputs: Outputs, raw: Tensor) -> Tensor:
    return log_probabilities(raw) if outputs == "probabilities" else raw.float()


def _top(head: MulticlassHead, raw: Tensor, probabilities: Tensor, number: int) -> list[pa.Array]:
    """The labels of the largest raw outputs with their probabilities; of equal ones, the lowest label first."""
    columns = []
    for indices in _ranked(raw.float().T.contiguous(), number):
        columns += [labels_at(indices, head.labels), float_column(probabilities.gather(0, indices[None])[0])]
    return columns


def _ranked(scores: Tensor, number: int) -> list[Tensor]:
    """`[labels, rows]` → the indices of the `number` largest of each row, in order, int64 `[rows]` each."""
    import torch  # imported by now; planning does not need it

    if len(scores) > FEW_LABELS:
        order = torch.sort(scores, dim=0, descending=True, stable=True).indices
        return list(order[:number])
    # The bits of a float, with the order of negative numbers reversed, sort like the float. The key is these bits
    # followed by the label. A few rounds of bubble sort over whole columns of keys are three times as fast as sorting
    # short rows (measured).
    bits = (scores + 0.0).view(torch.int32)  # so that −0 and 0 are equal
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() * LABEL_STEP + torch.arange(len(scores) - 1, -1, -1)[:, None]
    ranked = list(keys)
    for rank in range(number):
        for at in range(len(ranked) - 1, rank, -1):
            pair = ranked[at - 1], ranked[at]
            ranked[at - 1], ranked[at] = torch.maximum(*pair), torch.minimum(*pair)
    return [len(scores) - 1 - (key & (LABEL_STEP - 1)) for key in ranked[:number]]
