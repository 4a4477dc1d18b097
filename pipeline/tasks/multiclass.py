"""Multiclass classification: `[rows, labels]` → label, probabilities, the likeliest labels."""

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import Ensemble
from ...schemas.heads import MulticlassHead, Temperature
from ..options import ColumnOptions
from .classes import (
    FEW_LABELS,
    HeadColumns,
    Outputs,
    by_label,
    combined,
    finite_rows,
    float_column,
    labels_at,
    log_probabilities,
    outside,
    probability_columns,
)

#: A power of two, more than there are labels in `FEW_LABELS`.
LABEL_STEP = 64


def decode(head: MulticlassHead, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None) -> HeadColumns:
    """Columns as `columns.output_fields` names them. The label is that of the largest raw output; ties go to the lowest
    label.

    Args:
        raw: `[rows, labels]`, or `[rows, members, labels]` of an ensemble.
    """
    spread: list[pa.Array] = []
    outputs = head.outputs
    if ensemble is not None:
        raw, std = combined(outputs, raw, ensemble)
        outputs = "probabilities"
        spread = [float_column(std)] if ensemble.std else []
    if isinstance(head.calibration, Temperature):
        probabilities, places = by_label("logits", _as_logits(outputs, raw) / head.calibration.temperature)
    else:
        probabilities, places = by_label(outputs, raw)
    likeliest = [] if options.top_k is None else _top(head, raw, probabilities, options.top_k)
    return HeadColumns(
        columns=[labels_at(places, head.labels), *probability_columns(probabilities, options), *likeliest, *spread],
        finite=finite_rows(probabilities),
        beyond=outside(head, probabilities),
    )


def logits(head: MulticlassHead, raw: Tensor, ensemble: Ensemble | None) -> Tensor:
    """What the softmax takes before any calibration, `[rows, labels]`."""
    if ensemble is None:
        return _as_logits(head.outputs, raw)
    return _as_logits("probabilities", combined(head.outputs, raw, ensemble)[0])


def _as_logits(outputs: Outputs, raw: Tensor) -> Tensor:
    return log_probabilities(raw) if outputs == "probabilities" else raw.float()


def _top(head: MulticlassHead, raw: Tensor, probabilities: Tensor, number: int) -> list[pa.Array]:
    """The labels of the largest raw outputs, each with its probability; of equal ones the lowest first."""
    columns = []
    for places in _places(raw.float().T.contiguous(), number):
        columns += [labels_at(places, head.labels), float_column(probabilities.gather(0, places[None])[0])]
    return columns


def _places(scores: Tensor, number: int) -> list[Tensor]:
    """`[labels, rows]` → the places of the `number` largest of each row, in order, int64 `[rows]` each."""
    if len(scores) > FEW_LABELS:
        order = torch.sort(scores, dim=0, descending=True, stable=True).indices
        return list(order[:number])
    # A float's bits, the sign turned, are in its own order; behind them stands the label, so that one number says both,
    # and a few rounds of bubble sort over whole columns are three times as fast as sorting rows of few (measured).
    bits = (scores + 0.0).view(torch.int32)  # −0 and 0 are equal
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() * LABEL_STEP + torch.arange(len(scores) - 1, -1, -1)[:, None]
    ranked = list(keys)
    for rank in range(number):
        for at in range(len(ranked) - 1, rank, -1):
            pair = ranked[at - 1], ranked[at]
            ranked[at - 1], ranked[at] = torch.maximum(*pair), torch.minimum(*pair)
    return [len(scores) - 1 - (key & (LABEL_STEP - 1)) for key in ranked[:number]]
