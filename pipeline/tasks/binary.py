"""Binary classification: `[rows, 1]` (of the second label) or `[rows, 2]` → label, probability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...schemas.heads import BinaryHead
from ..options import ColumnOptions
from .labelled import ClassTask
from .probabilities import (
    class_logits,
    class_probabilities,
    combined,
    finite_rows,
    float_column,
    labels_at,
    log_odds,
    log_probabilities,
    logistic,
    out_of_bounds,
    platt,
    yes_probabilities,
)
from .task import PREDICTION, STD, HeadColumns, split_members

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble


class BinaryTask(ClassTask[BinaryHead]):
    """One of two labels. The second label is predicted if its probability is above the threshold; at exactly the
    threshold, the first label is predicted."""

    name = "binary"
    calibrations = ("platt", "temperature")

    def describe(self) -> Iterator[str]:
        """The threshold."""
        yield f"{self.head.labels[1]!r} above {self.head.threshold:g}"
        yield from super().describe()

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:
        """`prediction`, `probability` of the second label, `prediction_std`."""
        return [
            pa.field(PREDICTION, self.label_type),
            *([] if options.probabilities == "none" else [pa.field("probability", pa.float32())]),
            *([pa.field(STD, pa.float64())] if std else []),
        ]

    @property
    def threshold_labels(self) -> list[str]:
        """One threshold, of the second label."""
        return [str(self.head.labels[1])]

    def with_threshold(self, value: float, index: int | None = None) -> BinaryHead:  # noqa: ARG002 - there is only one
        """The head with another threshold."""
        return self.head.model_copy(update={"threshold": value})

    def other_shapes(self, rows: int) -> set[tuple[int, ...]]:
        """One number per row, that of the second label."""
        return {(rows,), (rows, 1)}

    def decode(
        self, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """The columns listed by `fields`."""
        head, spread = self.head, []
        raw = split_members(raw, ensemble, num_members)
        if ensemble is None:
            probability = _positive(head, raw)
        else:
            probability, std = _together(head, raw, ensemble)
            spread = [float_column(std)] if ensemble.std else []
        if head.calibration is not None:
            odds = _logit(head, raw) if ensemble is None else log_odds(probability)
            probability = platt(head.calibration, odds.double()[None])[0].float()
        columns = [labels_at((probability > head.threshold).long(), head.labels)]
        if options.probabilities != "none":
            columns.append(float_column(probability))
        return HeadColumns(
            columns=[*columns, *spread],
            finite=finite_rows(probability),
            out_of_bounds=out_of_bounds(head, probability[None]),
        )

    def logits(self, raw: Tensor, ensemble: Ensemble | None = None, num_members: int = 1) -> Tensor:
        """The log-odds of the second label, `[rows, 1]`."""
        raw = split_members(raw, ensemble, num_members)
        odds = _logit(self.head, raw) if ensemble is None else log_odds(_together(self.head, raw, ensemble)[0])
        return odds[:, None]

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """The probabilities of the second label, `[rows, 1]`."""
        found, values = self.head.calibration, logits.double()
        return np.asarray((logistic(values) if found is None else platt(found, values.T).T).numpy())

    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """Labels `[rows]`, or the probabilities of the second label `[rows]` or of both labels `[rows, 2]`."""
        if values.ndim == 2 and values.shape[1] == 2:
            return {names[1]: values[:, 1].astype(np.float32)}
        if values.ndim == 1 and values.dtype.kind == "f" and not set(values.tolist()) <= set(self.labels):
            return {names[1]: values.astype(np.float32)}
        return super().expected_columns(values, names)


def _together(head: BinaryHead, raw: Tensor, ensemble: Ensemble) -> tuple[Tensor, Tensor]:
    """The combined probability of the second label, and its standard deviation over the members, `[rows]` each."""
    pairs = raw if raw.shape[-1] == 2 else _both(head, raw)
    outputs = head.outputs if raw.shape[-1] == 2 else "log_probabilities"
    probabilities, std = combined(outputs, pairs, ensemble)
    return probabilities[:, 1], std


def _positive(head: BinaryHead, raw: Tensor) -> Tensor:
    """P(second label), float32. One number per row is that of the second label; for two, the softmax is used."""
    if raw.shape[-1] == 2:
        return class_probabilities(head.outputs, raw)[..., 1]
    return yes_probabilities(head.outputs, raw[..., 0])


def _logit(head: BinaryHead, raw: Tensor) -> Tensor:
    """The log-odds of the second label, float32 `[rows]`."""
    if raw.shape[-1] == 2:
        pairs = log_probabilities(raw) if head.outputs == "probabilities" else raw.float()
        return pairs[..., 1] - pairs[..., 0]
    return class_logits(head.outputs, raw[..., 0])


def _both(head: BinaryHead, raw: Tensor) -> Tensor:
    """The log-probabilities of both labels from one number per row, `[…, 2]`. Their difference is the logit."""
    import torch  # imported by now; planning does not need it

    if head.outputs == "logits":
        logit = raw[..., 0].float()
        return torch.stack([torch.nn.functional.logsigmoid(-logit), torch.nn.functional.logsigmoid(logit)], dim=-1)
    probability = _positive(head, raw)
    return torch.stack([1 - probability, probability], dim=-1).log()
