"""Multiclass classification: `[rows, labels]` → label, probabilities."""

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import Ensemble, MulticlassHead
from ..records import ColumnOptions
from .classes import class_probabilities, combined, float_column, labels_at


def decode(
    head: MulticlassHead, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None
) -> tuple[list[pa.Array], Tensor]:
    """Columns as `columns.output_fields` names them, and which rows came out finite, bool `[rows]`.

    The label is that of the largest raw output; ties go to the lowest label.

    Args:
        raw: `[rows, labels]`, or `[rows, members, labels]` of an ensemble.
    """
    spread = []
    if ensemble is None:
        probabilities, places = class_probabilities(head.outputs, raw), raw.argmax(dim=1)
    else:
        probabilities, std = combined(head.outputs, raw, ensemble)
        places = probabilities.argmax(dim=1)
        spread = [float_column(std)] if ensemble.std else []
    columns = [labels_at(places, head.labels)]
    if options.probabilities == "columns":
        by_class = probabilities.T.contiguous()
        columns += [float_column(by_class[place]) for place in range(len(head.labels))]
    elif options.probabilities == "list":
        flat = float_column(probabilities.reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, len(head.labels)))
    return [*columns, *spread], torch.isfinite(probabilities).all(dim=1)
