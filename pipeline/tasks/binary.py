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
    outside,
    platt,
    yes_probabilities,
)
from .task import PREDICTION, STD, HeadColumns, members_apart

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble


class BinaryTask(ClassTask[BinaryHead]):
    """One of two labels. The second is predicted where its probability is above the threshold; at exactly the threshold
    the first is, as ties go to the lowest label."""

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
        return []

    def with_threshold(self, value: float, index: int | None = None) -> BinaryHead:  # noqa: ARG002 - there is one
        """The head with another threshold."""
        return self.head.model_copy(update={"threshold": value})

    def other_shapes(self, rows: int) -> set[tuple[int, ...]]:
        """One number for each row is the second label's."""
        return {(rows,), (rows, 1)}

    def decode(
        self, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """Columns as `fields` names them."""
        head, spread = self.head, []
        raw = members_apart(raw, ensemble, num_members)
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
            columns=[*columns, *spread], finite=finite_rows(probability), beyond=outside(head, probability[None])
        )

    def logits(self, raw: Tensor, ensemble: Ensemble | None = None, num_members: int = 1) -> Tensor:
        """The log-odds of the second label, `[rows, 1]`."""
        raw = members_apart(raw, ensemble, num_members)
        odds = _logit(self.head, raw) if ensemble is None else log_odds(_together(self.head, raw, ensemble)[0])
        return odds[:, None]

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """Of the second label, `[rows, 1]`."""
        found, values = self.head.calibration, logits.double()
        return np.asarray((logistic(values) if found is None else platt(found, values.T).T).numpy())

    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """Labels or probabilities of the second one, `[rows]`, or of both, `[rows, 2]`."""
        if values.ndim == 2 and values.shape[1] == 2:
            return {names[1]: values[:, 1].astype(np.float32)}
        if values.ndim == 1 and values.dtype.kind == "f" and not set(values.tolist()) <= set(self.labels):
            return {names[1]: values.astype(np.float32)}
        return super().expected_columns(values, names)


def _together(head: BinaryHead, raw: Tensor, ensemble: Ensemble) -> tuple[Tensor, Tensor]:
    """The members' one probability of the second label, and its deviation, `[rows]` each."""
    pairs = raw if raw.shape[-1] == 2 else _both(head, raw)
    outputs = head.outputs if raw.shape[-1] == 2 else "log_probabilities"
    probabilities, std = combined(outputs, pairs, ensemble)
    return probabilities[:, 1], std


def _positive(head: BinaryHead, raw: Tensor) -> Tensor:
    """P(second label), float32. One number per row is the second label's; of two, the softmax."""
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
    """The log-probabilities of both labels from the one number per row, `[…, 2]`: their difference is the logit."""
    import torch  # by now it is imported: planning does without

    if head.outputs == "logits":
        logit = raw[..., 0].float()
        return torch.stack([torch.nn.functional.logsigmoid(-logit), torch.nn.functional.logsigmoid(logit)], dim=-1)
    probability = _positive(head, raw)
    return torch.stack([1 - probability, probability], dim=-1).log()
