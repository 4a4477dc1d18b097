"""Multilabel classification: `[rows, labels]` → for each label whether it is predicted, and its probability."""

import torch
from torch import Tensor

from ...schemas.bundle import Ensemble
from ...schemas.heads import MultilabelHead
from ..arrays import to_arrow
from ..options import ColumnOptions
from .classes import (
    HeadColumns,
    class_logits,
    finite_rows,
    float_column,
    log_odds,
    outside,
    platt,
    probability_columns,
    yes_probabilities,
)


def decode(head: MultilabelHead, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None) -> HeadColumns:
    """Columns as `columns.output_fields` names them. A label is predicted where its probability is above its
    threshold.

    Args:
        raw: `[rows, labels]`, or `[rows, members, labels]` of an ensemble.
    """
    spread = []
    single = yes_probabilities(head.outputs, raw)
    probabilities = single.T.contiguous() if ensemble is None else _combined(head, raw, single, ensemble).T.contiguous()
    if ensemble is not None and ensemble.std:
        spread = [float_column(column) for column in single.double().std(dim=1, correction=0).T]
    if head.calibration is not None:
        odds = class_logits(head.outputs, raw).T if ensemble is None else log_odds(probabilities)
        probabilities = platt(head.calibration, odds.double()).float()
    limits = torch.tensor(head.thresholds)[:, None]
    predictions = [to_arrow(column.numpy()) for column in (probabilities > limits)]
    return HeadColumns(
        columns=[*predictions, *probability_columns(probabilities, options), *spread],
        finite=finite_rows(probabilities),
        beyond=outside(head, probabilities),
    )


def logits(head: MultilabelHead, raw: Tensor, ensemble: Ensemble | None) -> Tensor:
    """The log-odds of each label before any calibration, `[rows, labels]`."""
    if ensemble is None:
        return class_logits(head.outputs, raw)
    return log_odds(_combined(head, raw, yes_probabilities(head.outputs, raw), ensemble))


def _combined(head: MultilabelHead, raw: Tensor, single: Tensor, ensemble: Ensemble) -> Tensor:
    if ensemble.combine == "logit":
        return torch.sigmoid(class_logits(head.outputs, raw).mean(dim=1))
    if ensemble.combine == "vote":
        return (single > 0.5).float().mean(dim=1) + 0.0 * single.sum(dim=1)  # NaN stays NaN
    return single.mean(dim=1)
