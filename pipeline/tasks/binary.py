"""Binary classification: `[rows, 1]` (of the second label) or `[rows, 2]` → label, probability."""

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import BinaryHead
from ..records import ColumnOptions
from .classes import class_probabilities, float_column, labels_at


def decode(head: BinaryHead, raw: Tensor, options: ColumnOptions) -> tuple[list[pa.Array], Tensor]:
    """Columns as `columns.output_fields` names them, and which rows came out finite, bool `[rows]`.

    The second label is predicted where its probability is above 0.5; at exactly 0.5 the first is, as ties go
    to the lowest label.
    """
    probability = positive_probability(head, raw)
    predicted = labels_at((probability > 0.5).long(), head.labels)
    columns = [predicted] if options.probabilities == "none" else [predicted, float_column(probability)]
    return columns, torch.isfinite(probability)


def positive_probability(head: BinaryHead, raw: Tensor) -> Tensor:
    """P(second label), float32 `[rows]`. One number per row is the second label's; of two, the softmax."""
    if raw.shape[1] == 2:
        return class_probabilities(head.outputs, raw)[:, 1]
    single = raw.reshape(-1).float()
    match head.outputs:
        case "logits":
            return torch.sigmoid(single)
        case "log_probabilities":
            return torch.exp(single)
        case "probabilities":
            return single
