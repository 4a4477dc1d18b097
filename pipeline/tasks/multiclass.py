"""Multiclass classification: `[rows, labels]` → label, probabilities."""

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import MulticlassHead
from ..records import ColumnOptions
from .classes import class_probabilities, float_column, labels_at


def decode(head: MulticlassHead, raw: Tensor, options: ColumnOptions) -> tuple[list[pa.Array], Tensor]:
    """Columns as `columns.output_fields` names them, and which rows came out finite, bool `[rows]`.

    The label is that of the largest raw output; ties go to the lowest label.
    """
    probabilities = class_probabilities(head.outputs, raw)
    columns = [labels_at(raw.argmax(dim=1), head.labels)]
    by_class = probabilities.T.contiguous()
    if options.probabilities == "columns":
        columns += [float_column(by_class[place]) for place in range(len(head.labels))]
    elif options.probabilities == "list":
        flat = float_column(probabilities.reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, len(head.labels)))
    return columns, torch.isfinite(probabilities).all(dim=1)
