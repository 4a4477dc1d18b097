"""The score that is explained: what a head gives for one of its classes or outputs, as one differentiable number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ....schemas.heads import AnyHead, LabelledHead, RegressionHead
from ...tasks.regression import rescaled


def explained_score(head: AnyHead, raw: Sequence[Tensor], places: Tensor) -> Tensor:
    """Raw outputs of each member `[rows, width]` → the score of a class or output `[rows]`, their mean.

    Of a regression the prediction in its own unit. Of classes the raw output as the model gives it, before any
    calibration: a logit, a probability or its logarithm. A binary head of one output speaks for its second label; the
    first has what is left: the negative logit, or one less the probability.

    Args:
        places: of the class or output, int64 `[rows]`.
    """
    if isinstance(head, RegressionHead):
        return torch.stack([_prediction(head, one, places) for one in raw]).mean(dim=0)
    assert isinstance(head, LabelledHead), "heads are regressions or have labels"
    return torch.stack([_class_score(head, one, places) for one in raw]).mean(dim=0)


def _class_score(head: LabelledHead, raw: Tensor, places: Tensor) -> Tensor:
    if raw.shape[1] > 1 or len(head.labels) == 1:
        return raw.gather(1, places[:, None])[:, 0]
    second = raw[:, 0]
    match head.outputs:
        case "logits":
            first = -second
        case "probabilities":
            first = 1 - second
        case "log_probabilities":
            first = torch.log(-torch.expm1(second))
    return torch.where(places == 1, second, first)


def _prediction(head: RegressionHead, raw: Tensor, places: Tensor) -> Tensor:
    targets = max(1, len(head.targets))
    values = raw.double().reshape(len(raw), raw.shape[1] // targets, targets)
    for step in head.rescale:
        values = rescaled(step, values)
    return values.flatten(1).gather(1, places[:, None])[:, 0]
