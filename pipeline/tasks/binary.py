"""Binary classification: `[rows, 1]` (of the second label) or `[rows, 2]` → label, probability."""

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import BinaryHead, Ensemble
from ..records import ColumnOptions
from .classes import class_probabilities, combined, finite_rows, float_column, labels_at, logistic


def decode(
    head: BinaryHead, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None
) -> tuple[list[pa.Array], Tensor | None]:
    """Columns as `columns.output_fields` names them, and which rows came out finite, bool `[rows]`, None
    where all did.

    The second label is predicted where its probability is above 0.5; at exactly 0.5 the first is, as ties go
    to the lowest label.

    Args:
        raw: `[rows, width]`, or `[rows, members, width]` of an ensemble.
    """
    spread = []
    if ensemble is None:
        probability = _positive(head, raw)
    else:
        pairs = raw if raw.shape[-1] == 2 else _both(head, raw)
        outputs = head.outputs if raw.shape[-1] == 2 else "log_probabilities"
        probabilities, std = combined(outputs, pairs, ensemble)
        probability = probabilities[:, 1]
        spread = [float_column(std)] if ensemble.std else []
    columns = [labels_at((probability > 0.5).long(), head.labels)]
    if options.probabilities != "none":
        columns.append(float_column(probability))
    return [*columns, *spread], finite_rows(probability)


def _positive(head: BinaryHead, raw: Tensor) -> Tensor:
    """P(second label), float32. One number per row is the second label's; of two, the softmax."""
    if raw.shape[-1] == 2:
        return class_probabilities(head.outputs, raw)[..., 1]
    match head.outputs:
        case "logits":
            return logistic(raw[..., 0].float())
        case "log_probabilities":
            return torch.exp(raw[..., 0].float())
        case "probabilities":
            return raw[..., 0].float()


def _both(head: BinaryHead, raw: Tensor) -> Tensor:
    """The log-probabilities of both labels from the one number per row, `[…, 2]`: their difference is the logit."""
    if head.outputs == "logits":
        logit = raw[..., 0].float()
        return torch.stack([torch.nn.functional.logsigmoid(-logit), torch.nn.functional.logsigmoid(logit)], dim=-1)
    probability = _positive(head, raw)
    return torch.log(torch.stack([1 - probability, probability], dim=-1))
