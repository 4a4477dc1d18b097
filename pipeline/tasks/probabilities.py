"""Probabilities from raw outputs, labels from their indices, one prediction from several members.

Uses methods of tensors, and imports torch only where a tensor is created: planning does not need torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from ...schemas.heads import Label, LabelledHead, Platt, Temperature
from ..arrays import to_arrow
from .labelled import label_array

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble
    from ..options import ColumnOptions

#: Up to this number of labels, a pass per label is faster than `argmax`.
FEW_LABELS = 32
Outputs = Literal["logits", "probabilities", "log_probabilities"]
#: Probabilities are kept this far from 0 and 1 when converted to logits.
NEAREST = 1e-7
#: The tolerance of bounds on probabilities, for float32 and rounded models.
SLACK = 1e-3


def class_probabilities(outputs: Outputs, raw: Tensor) -> Tensor:
    """`[…, labels]` → float32 of the same shape. The softmax is shifted by the maximum
    of each row, so that logits of ±1e4 stay finite; a row with NaN or +inf becomes NaN."""
    match outputs:
        case "logits":
            return raw.float().softmax(dim=-1)
        case "log_probabilities":
            return raw.float().exp()
        case "probabilities":
            return raw.float()


def combined(outputs: Outputs, raw: Tensor, ensemble: Ensemble) -> tuple[Tensor, Tensor]:
    """Combine several members into one prediction.

    Args:
        raw: `[rows, members, labels]`.

    Returns:
        Probabilities, float32 `[rows, labels]` (for `vote`, the share of the members that chose each label), and the
        standard deviation over the members (population) of the probability of the predicted label, float64
        `[rows]`.
    """
    single = class_probabilities(outputs, raw)
    if ensemble.combine == "logit":
        scores = raw.float() if outputs != "probabilities" else raw.float().log()
        probabilities = scores.mean(dim=1).softmax(dim=-1)
    elif ensemble.combine == "vote":
        import torch  # imported by now; planning does not need it

        votes = torch.nn.functional.one_hot(single.nan_to_num().argmax(dim=-1), single.shape[-1])
        probabilities = votes.float().mean(dim=1) + 0.0 * single.sum(dim=(1, 2))[:, None]  # NaN stays NaN
    else:
        probabilities = single.mean(dim=1)
    chosen = probabilities.nan_to_num().argmax(dim=-1)
    spread = single.double().std(dim=1, correction=0)
    return probabilities, spread.gather(1, chosen[:, None])[:, 0]


def by_label(outputs: Outputs, raw: Tensor) -> tuple[Tensor, Tensor]:
    """`[rows, labels]` → probabilities, float32 `[labels, rows]`, and the index of the largest raw output in each row,
    the first of equal ones, int64 `[rows]`.

    If there are few labels, a pass per label over all rows is ten times as fast as torch's softmax and argmax over
    short rows (measured), and the order of additions does not depend on the position of a row in its block.
    """
    if raw.shape[1] > FEW_LABELS:
        return class_probabilities(outputs, raw).T.contiguous(), raw.argmax(dim=1)
    scores = raw.float().T.contiguous()
    best, indices = largest(scores)
    if outputs != "logits":
        return class_probabilities(outputs, scores), indices
    powers = (scores - best).exp_()
    first, *others = powers.unbind()
    total = first.clone()
    for power in others:
        total += power
    return powers / total, indices


def largest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """`[labels, rows]` → the maximum of each row and its index, the first of equal ones, `[rows]` each."""
    best, number = scores.amax(dim=0), len(scores)
    if number > FEW_LABELS:
        return best, (scores == best).byte().argmax(dim=0)
    import torch  # imported by now; planning does not need it

    # Whether a label is the maximum, times how early it comes: the largest product is that of the first of equal ones.
    # Few operations, whatever the number of labels: two to three times as fast as a comparison for each (measured).
    equal = (scores == best).view(torch.uint8)
    earliness = torch.arange(number, 0, -1, dtype=torch.uint8, device=scores.device)[:, None]
    first = equal.mul_(earliness).amax(dim=0).long()
    return best, torch.where(first > 0, number - first, 0)  # no label equals NaN


def yes_probabilities(outputs: Outputs, raw: Tensor) -> Tensor:
    """One number per label, independent of other labels → its probability, float32 of the same shape."""
    match outputs:
        case "logits":
            return logistic(raw.float())
        case "log_probabilities":
            return raw.float().exp()
        case "probabilities":
            return raw.float()


def class_logits(outputs: Outputs, raw: Tensor) -> Tensor:
    """One number per label, independent of other labels → its log-odds, float32 of the same shape."""
    return raw.float() if outputs == "logits" else log_odds(yes_probabilities(outputs, raw))


def log_odds(probabilities: Tensor) -> Tensor:
    """The logit, limited to ±16: closer to 0 and 1, float32 is not precise enough."""
    return probabilities.logit(eps=NEAREST)


def log_probabilities(probabilities: Tensor) -> Tensor:
    """The logarithm, at least −16, for the same reason."""
    return probabilities.float().clamp(min=NEAREST).log()


def platt(calibration: Platt | Temperature, logits: Tensor) -> Tensor:
    """Log-odds `[labels, rows]` → calibrated probabilities of the same shape and type."""
    if isinstance(calibration, Temperature):
        return logistic(logits / calibration.temperature)
    slope, intercept = (logits.new_tensor(numbers) for numbers in (calibration.slope, calibration.intercept))
    return logistic(slope[:, None] * logits + intercept[:, None])


def probability_columns(probabilities: Tensor, options: ColumnOptions) -> list[pa.Array]:
    """`[labels, rows]` → a column per label, or one column of lists, or none."""
    if options.probabilities == "columns":
        return [to_arrow(probability) for probability in probabilities.contiguous().cpu().numpy()]
    if options.probabilities == "list":
        flat = float_column(probabilities.T.reshape(-1))
        return [pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[0])]
    return []


def out_of_bounds(head: LabelledHead, probabilities: Tensor, *, sums_to_one: bool = False) -> Tensor | None:
    """`[labels, rows]` → bool `[rows]`: which rows have probabilities outside [0, 1], or not summing to 1 if they
    should; None if there are none, or no bounds are declared."""
    if head.bounds is None:
        return None
    bad = ((probabilities < -SLACK) | (probabilities > 1 + SLACK)).any(dim=0)
    if sums_to_one:
        bad |= (probabilities.sum(dim=0) - 1).abs() > SLACK
    return bad if bool(bad.any()) else None


def logistic(logit: Tensor) -> Tensor:
    """1 / (1 + e^−x). The last bit of torch's sigmoid depends on the position of a value in its block."""
    return (1 + (-logit).exp()).reciprocal()


def finite_rows(values: Tensor) -> Tensor | None:
    """`[…, rows]` → bool `[rows]`: which rows have only finite values; None if all have, which is checked by the
    sum."""
    if isfinite(values.sum().item()):
        return None
    return values.reshape(-1, values.shape[-1]).isfinite().all(dim=0)


def labels_at(indices: Tensor, labels: Sequence[Label]) -> pa.Array:
    """int64 `[rows]` → the labels at those indices."""
    return label_array(labels).take(to_arrow(indices.cpu().numpy()))


def float_column(values: Tensor) -> pa.Array:
    """float `[rows]` → an Arrow column."""
    return to_arrow(values.contiguous().cpu().numpy())
