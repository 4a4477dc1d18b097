"""What binary and multiclass share: probabilities from raw outputs, labels from places, one prediction from several
members."""

from typing import Literal

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import Ensemble, Label
from .columns import label_array

#: Up to here a pass per label is faster than `argmax`.
FEW_LABELS = 32
Outputs = Literal["logits", "probabilities", "log_probabilities"]


def class_probabilities(outputs: Outputs, raw: Tensor, dim: int = -1) -> Tensor:
    """Raw outputs, with the labels along `dim` → float32 of the same shape. The softmax is shifted by each row's
    maximum, so that logits of ±1e4 stay finite; a row with NaN or +inf comes out as NaN."""
    match outputs:
        case "logits":
            return torch.softmax(raw.float(), dim=dim)
        case "log_probabilities":
            return torch.exp(raw.float())
        case "probabilities":
            return raw.float()


def combined(outputs: Outputs, raw: Tensor, ensemble: Ensemble) -> tuple[Tensor, Tensor]:
    """One prediction from several members.

    Args:
        raw: `[rows, members, labels]`.

    Returns:
        Probabilities, float32 `[rows, labels]` (for `vote`, the share of the members that chose each label), and the
        standard deviation over the members (divided by their number) of the probability of the label that is
        predicted, float64 `[rows]`.
    """
    single = class_probabilities(outputs, raw)
    if ensemble.combine == "logit":
        scores = raw.float() if outputs != "probabilities" else torch.log(raw.float())
        probabilities = torch.softmax(scores.mean(dim=1), dim=-1)
    elif ensemble.combine == "vote":
        votes = torch.nn.functional.one_hot(single.nan_to_num().argmax(dim=-1), single.shape[-1])
        probabilities = votes.float().mean(dim=1) + 0.0 * single.sum(dim=(1, 2))[:, None]  # NaN stays NaN
    else:
        probabilities = single.mean(dim=1)
    chosen = probabilities.nan_to_num().argmax(dim=-1)
    spread = single.double().std(dim=1, correction=0)
    return probabilities, spread.gather(1, chosen[:, None])[:, 0]


def largest(scores: Tensor) -> Tensor:
    """`[labels, rows]` → the place of the largest in each column, int64 `[rows]`; the first of equal ones.

    Torch's own `argmax` over the first dimension takes five times as long where there are few labels (measured).
    """
    if scores.shape[0] > FEW_LABELS or scores.is_cuda:
        return scores.argmax(dim=0)
    best = scores[0]
    places = torch.zeros(scores.shape[1], dtype=torch.int64)
    for place in range(1, scores.shape[0]):
        places.masked_fill_(scores[place] > best, place)
        best = torch.maximum(best, scores[place])
    return places


def finite_rows(values: Tensor) -> Tensor | None:
    """`[…, rows]` → which columns are finite throughout, bool `[rows]`; None where all are, as the sum tells at
    once."""
    if torch.isfinite(values.sum()):
        return None
    return torch.isfinite(values.reshape(-1, values.shape[-1])).all(dim=0)


def labels_at(places: Tensor, labels: list[Label]) -> pa.Array:
    """int64 `[rows]` → the labels at those places."""
    return label_array(labels).take(pa.array(places.cpu().numpy()))


def float_column(values: Tensor) -> pa.Array:
    """float `[rows]` → an Arrow column."""
    return pa.array(values.contiguous().cpu().numpy())
