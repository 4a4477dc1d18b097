"""Binary classification: `[rows, 1]` (of the second label) or `[rows, 2]` → label, probability."""

import torch
from torch import Tensor

from ...schemas.bundle import Ensemble
from ...schemas.heads import BinaryHead
from ..options import ColumnOptions
from .classes import (
    HeadColumns,
    class_logits,
    class_probabilities,
    combined,
    finite_rows,
    float_column,
    labels_at,
    log_odds,
    log_probabilities,
    outside,
    platt,
    yes_probabilities,
)


def decode(head: BinaryHead, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None) -> HeadColumns:
    """Columns as `columns.output_fields` names them. The second label is predicted where its probability is above the
    threshold; at exactly the threshold the first is, as ties go to the lowest label.

    Args:
        raw: `[rows, width]`, or `[rows, members, width]` of an ensemble.
    """
    spread = []
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


def logits(head: BinaryHead, raw: Tensor, ensemble: Ensemble | None) -> Tensor:
    """The log-odds of the second label before any calibration, `[rows]`."""
    if ensemble is None:
        return _logit(head, raw)
    return log_odds(_together(head, raw, ensemble)[0])


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
    if head.outputs == "logits":
        logit = raw[..., 0].float()
        return torch.stack([torch.nn.functional.logsigmoid(-logit), torch.nn.functional.logsigmoid(logit)], dim=-1)
    probability = _positive(head, raw)
    return torch.log(torch.stack([1 - probability, probability], dim=-1))
