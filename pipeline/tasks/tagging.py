"""Tagging: `[steps, labels]` of all rows → a list of labels for each row, and how likely each is."""

import pyarrow as pa
import torch

from ...schemas.bundle import Ensemble
from ...schemas.heads import TaggingHead
from ..arrays import to_arrow
from ..options import ColumnOptions
from ..records import Sequences
from .classes import HeadColumns, by_label, combined, finite_rows, float_column, labels_at, outside


def decode(
    head: TaggingHead, raw: Sequences, options: ColumnOptions, ensemble: Ensemble | None, members: int
) -> HeadColumns:
    """Columns as `columns.output_fields` names them. The label of a step is that of its largest raw output; ties go to
    the lowest label.

    Args:
        raw: values `[steps, members × labels]`.
    """
    values, outputs = raw.values, head.outputs
    if ensemble is not None:
        values, _ = combined(outputs, values.reshape(len(values), members, len(head.labels)), ensemble)
        outputs = "probabilities"
    probabilities, places = by_label(outputs, values)
    columns = [lists_of(labels_at(places, head.labels), raw)]
    if options.probabilities == "columns":
        columns.append(lists_of(float_column(probabilities.gather(0, places[None])[0]), raw))
    elif options.probabilities == "list":
        flat = pa.FixedSizeListArray.from_arrays(float_column(probabilities.T.reshape(-1)), len(head.labels))
        columns.append(lists_of(flat, raw))
    finite, beyond = finite_rows(probabilities), outside(head, probabilities)
    return HeadColumns(
        columns=columns,
        finite=None if finite is None else ~_any_step(~finite, raw),
        beyond=None if beyond is None else _any_step(beyond, raw),
    )


def lists_of(values: pa.Array, raw: Sequences) -> pa.Array:
    """Values of all steps → a list for each row."""
    offsets = to_arrow(raw.offsets.cpu().numpy()).cast(pa.int32())
    return pa.ListArray.from_arrays(offsets, values)


def _any_step(steps: torch.Tensor, raw: Sequences) -> torch.Tensor:
    """bool `[steps]` → bool `[rows]`: whether one of a row's is true."""
    rows = torch.repeat_interleave(torch.arange(raw.shape[0]), raw.offsets.diff())
    return torch.zeros(raw.shape[0], dtype=torch.int64).index_add_(0, rows, steps.long()) > 0
