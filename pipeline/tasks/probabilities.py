"""Probabilities from raw outputs, labels from their indices, one prediction from several members.

Tensors are used by their methods alone, and torch is imported only where one is made from nothing: planning does
without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from ...schemas.heads import Label, LabelledHead, Platt, Temperature
from ..arrays import to_arrow
from .labelled import label_array

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble
    from ..options import ColumnOptions

#: Up to here a pass per label is faster than `argmax`.
FEW_LABELS = 32
Outputs = Literal["logits", "probabilities", "log_probabilities"]
#: Probabilities no nearer than this to 0 and 1 have logits that calibration can use.
NEAREST = 1e-7
#: Probabilities may miss their bounds by so much: float32, and a model that was rounded on its way.
SLACK = 1e-3


def class_probabilities(outputs: Outputs, raw: Tensor) -> Tensor:
    """`[…, labels]` → float32 of the same shape. The softmax is shifted by each row's
    maximum, so that logits of ±1e4 stay finite; a row with NaN or +inf comes out as NaN."""
    match outputs:
        case "logits":
            return raw.float().softmax(dim=-1)
        case "log_probabilities":
            return raw.float().exp()
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
        scores = raw.float() if outputs != "probabilities" else raw.float().log()
        probabilities = scores.mean(dim=1).softmax(dim=-1)
    elif ensemble.combine == "vote":
        import torch  # by now it is imported: planning does without

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
    best, places = largest(scores)
    if outputs != "logits":
        return class_probabilities(outputs, scores), places
    powers = (scores - best).exp()
    total = powers[0].clone()
    for power in powers[1:]:
        total += power
    return powers / total, places


def largest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """`[labels, rows]` → the largest of each row and its place, the first of equal ones, `[rows]` each."""
    if scores.shape[0] > FEW_LABELS:
        best, places = scores.max(dim=0)
        return best, (scores == best).byte().argmax(dim=0)
    import torch  # by now it is imported: planning does without

    best = scores[0]
    places = torch.zeros(scores.shape[1], dtype=torch.int64)
    for place in range(1, scores.shape[0]):
        places.masked_fill_(scores[place] > best, place)
        best = best.maximum(scores[place])
    return best, places


def yes_probabilities(outputs: Outputs, raw: Tensor) -> Tensor:
    """Numbers that each speak for one label alone → its probability, float32 of the same shape."""
    match outputs:
        case "logits":
            return logistic(raw.float())
        case "log_probabilities":
            return raw.float().exp()
        case "probabilities":
            return raw.float()


def class_logits(outputs: Outputs, raw: Tensor) -> Tensor:
    """Numbers that each speak for one label alone → its log-odds, float32 of the same shape."""
    return raw.float() if outputs == "logits" else log_odds(yes_probabilities(outputs, raw))


def log_odds(probabilities: Tensor) -> Tensor:
    """The logit, ±16 at most: nearer to 0 and 1 float32 has no more to say."""
    return probabilities.logit(eps=NEAREST)


def log_probabilities(probabilities: Tensor) -> Tensor:
    """The logarithm, −16 at least, for the same reason."""
    return probabilities.float().clamp(min=NEAREST).log()


def platt(calibration: Platt | Temperature, logits: Tensor) -> Tensor:
    """Log-odds `[labels, rows]` → calibrated probabilities of the same shape and type."""
    if isinstance(calibration, Temperature):
        return logistic(logits / calibration.temperature)
    slope, intercept = (logits.new_tensor(numbers) for numbers in (calibration.slope, calibration.intercept))
    return logistic(slope[:, None] * logits + intercept[:, None])


def probability_columns(probabilities: Tensor, options: ColumnOptions) -> list[pa.Array]:
    """`[labels, rows]` → a column each, or one of lists, or none."""
    if options.probabilities == "columns":
        return [float_column(probability) for probability in probabilities]
    if options.probabilities == "list":
        flat = float_column(probabilities.T.reshape(-1))
        return [pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[0])]
    return []


def outside(head: LabelledHead, probabilities: Tensor, *, sums_to_one: bool = False) -> Tensor | None:
    """`[labels, rows]` → the rows whose probabilities lie outside [0, 1], or do not sum to 1 where they are to; None
    where there are none, or no bounds are declared."""
    if head.bounds is None:
        return None
    bad = ((probabilities < -SLACK) | (probabilities > 1 + SLACK)).any(dim=0)
    if sums_to_one:
        bad |= (probabilities.sum(dim=0) - 1).abs() > SLACK
    return bad if bool(bad.any()) else None


def logistic(logit: Tensor) -> Tensor:
    """1 / (1 + e^−x). Torch's own differs in the last bit with the place of a value in its block."""
    return (1 + (-logit).exp()).reciprocal()


def finite_rows(values: Tensor) -> Tensor | None:
    """`[…, rows]` → which columns are finite throughout, bool `[rows]`; None where all are, as the sum tells at
    once."""
    if values.sum().isfinite():
        return None
    return values.reshape(-1, values.shape[-1]).isfinite().all(dim=0)


def labels_at(indices: Tensor, labels: Sequence[Label]) -> pa.Array:
    """int64 `[rows]` → the labels at those indices."""
    return label_array(labels).take(to_arrow(indices.cpu().numpy()))


def float_column(values: Tensor) -> pa.Array:
    """float `[rows]` → an Arrow column."""
    return to_arrow(values.contiguous().cpu().numpy())
