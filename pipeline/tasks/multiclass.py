"""Multiclass classification: `[rows, labels]` → label, probabilities, the likeliest labels."""

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import Ensemble, MulticlassHead, Temperature
from ..records import ColumnOptions
from .classes import (
    HeadColumns,
    Outputs,
    by_label,
    combined,
    finite_rows,
    float_column,
    labels_at,
    largest,
    log_probabilities,
    outside,
    probability_columns,
)


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
    left = raw.float().T.contiguous().clamp(min=torch.finfo(torch.float32).min)  # none is as low as what is taken
    columns = []
    for _ in range(number):
        places = largest(left)[1][None]
        columns += [labels_at(places[0], head.labels), float_column(probabilities.gather(0, places)[0])]
        left.scatter_(0, places, -torch.inf)
    return columns
