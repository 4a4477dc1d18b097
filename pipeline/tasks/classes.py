"""What binary and multiclass share: probabilities from raw outputs, labels from places, one prediction from several
members."""

from typing import Literal

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import Ensemble, Label
from ..arrays import to_arrow
from .columns import label_array

#: Up to here a pass per label is faster than `argmax`.
FEW_LABELS = 32
Outputs = Literal["logits", "probabilities", "log_probabilities"]


def class_probabilities(outputs: Outputs, raw: Tensor) -> Tensor:
    """`[…, labels]` → float32 of the same shape. The softmax is shifted by each row's
    maximum, so that logits of ±1e4 stay finite; a row with NaN or +inf comes out as NaN."""
    match outputs:
        case "logits":
            return torch.softmax(raw.float(), dim=-1)
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


def by_label(outputs: Outputs, raw: Tensor) -> tuple[Tensor, Tensor]:
    """`[rows, labels]` → probabilities, float32 `[labels, rows]`, and the place of the largest raw output in each row,
    the first of equal ones, int64 `[rows]`.

    Where there are few labels, a pass per label over all rows is ten times as fast as torch's softmax and argmax over
    rows of few (measured), and its order of additions is the same for every row, wherever it stands in its block.
    """
    if raw.shape[1] > FEW_LABELS:
        return class_probabilities(outputs, raw).T.contiguous(), raw.argmax(dim=1)
    scores = raw.float().T.contiguous()
    best = scores[0]
    places = torch.zeros(scores.shape[1], dtype=torch.int64)
    for place in range(1, scores.shape[0]):
        places.masked_fill_(scores[place] > best, place)
        best = torch.maximum(best, scores[place])
    if outputs != "logits":
        return class_probabilities(outputs, scores), places
    powers = torch.exp(scores - best)
    total = powers[0].clone()
    for power in powers[1:]:
        total += power
    return powers / total, places


def logistic(logit: Tensor) -> Tensor:
    """1 / (1 + e^−x). Torch's own differs in the last bit with the place of a value in its block."""
    return torch.reciprocal(1 + torch.exp(-logit))


def finite_rows(values: Tensor) -> Tensor | None:
    """`[…, rows]` → which columns are finite throughout, bool `[rows]`; None where all are, as the sum tells at
    once."""
    if torch.isfinite(values.sum()):
        return None
    return torch.isfinite(values.reshape(-1, values.shape[-1])).all(dim=0)


def labels_at(places: Tensor, labels: list[Label]) -> pa.Array:
    """int64 `[rows]` → the labels at those places."""
    return label_array(labels).take(to_arrow(places.cpu().numpy()))


def float_column(values: Tensor) -> pa.Array:
    """float `[rows]` → an Arrow column."""
    return to_arrow(values.contiguous().cpu().numpy())
