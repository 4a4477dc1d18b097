"""Multiclass classification: `[rows, labels]` → label, probabilities."""

import pyarrow as pa
from torch import Tensor

from ...schemas.bundle import Ensemble, MulticlassHead
from ..records import ColumnOptions
from .classes import by_label, combined, finite_rows, float_column, labels_at


def decode(
    head: MulticlassHead, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None
) -> tuple[list[pa.Array], Tensor | None]:
    """Columns as `columns.output_fields` names them, and which rows came out finite, bool `[rows]`, None
    where all did.

    The label is that of the largest raw output; ties go to the lowest label.

    Args:
        raw: `[rows, labels]`, or `[rows, members, labels]` of an ensemble.
    """
    spread = []
    if ensemble is None:
        probabilities, places = by_label(head.outputs, raw)
    else:
        mean, std = combined(head.outputs, raw, ensemble)
        probabilities, places = mean.T.contiguous(), mean.argmax(dim=1)
        spread = [float_column(std)] if ensemble.std else []
    columns = [labels_at(places, head.labels)]
    probabilities = probabilities.cpu()  # once, for all columns
    if options.probabilities == "columns":
        columns += [float_column(probability) for probability in probabilities]
    elif options.probabilities == "list":
        flat = float_column(probabilities.T.reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, len(head.labels)))
    return [*columns, *spread], finite_rows(probabilities)
