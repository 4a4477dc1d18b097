"""What binary and multiclass share: probabilities from raw outputs, labels from places."""

from typing import Literal

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import Label
from .columns import label_array


def class_probabilities(outputs: Literal["logits", "probabilities", "log_probabilities"], raw: Tensor) -> Tensor:
    """`[rows, labels]` → float32 `[rows, labels]`. The softmax is shifted by each row's maximum, so that
    logits of ±1e4 stay finite; a row with NaN or +inf comes out as NaN."""
    match outputs:
        case "logits":
            return torch.softmax(raw.float(), dim=1)
        case "log_probabilities":
            return torch.exp(raw.float())
        case "probabilities":
            return raw.float()


def labels_at(places: Tensor, labels: list[Label]) -> pa.Array:
    """int64 `[rows]` → the labels at those places."""
    return label_array(labels).take(pa.array(places.cpu().numpy()))


def float_column(values: Tensor) -> pa.Array:
    """float32 `[rows]` → an Arrow column."""
    return pa.array(values.contiguous().cpu().numpy())
