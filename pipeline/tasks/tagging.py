"""Tagging: `[steps, labels]` of all rows → a list of labels for each row, and how likely each is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ...schemas.heads import TaggingHead
from ..arrays import to_arrow
from ..options import ColumnOptions
from ..records import Sequences
from .labelled import LabelledTask
from .probabilities import by_label, combined, finite_rows, float_column, labels_at, outside
from .task import PREDICTION, HeadColumns

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble


class TaggingTask(LabelledTask[TaggingHead]):
    """A label for each step of a sequence: that of its largest raw output; ties go to the lowest label."""

    name = "tagging"
    per_step = True
    has_std = False

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:  # noqa: ARG002 - it has none
        """`prediction`, a list, and `probability` of those labels, or `probabilities` of all, or neither."""
        probabilities = {
            "columns": [pa.field("probability", pa.list_(pa.float32()))],
            "list": [pa.field("probabilities", pa.list_(pa.list_(pa.float32(), self.width)))],
            "none": [],
        }
        return [pa.field(PREDICTION, pa.list_(self.label_type)), *probabilities[options.probabilities]]

    def decode(
        self, raw: Sequences, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """Columns as `fields` names them.

        Args:
            raw: values `[steps, members × labels]`.
        """
        head, values, outputs = self.head, raw.values, self.head.outputs
        if ensemble is not None:
            values, _ = combined(outputs, values.reshape(len(values), num_members, self.width), ensemble)
            outputs = "probabilities"
        probabilities, indices = by_label(outputs, values)
        columns = [lists_of(labels_at(indices, head.labels), raw)]
        if options.probabilities == "columns":
            columns.append(lists_of(float_column(probabilities.gather(0, indices[None])[0]), raw))
        elif options.probabilities == "list":
            flat = pa.FixedSizeListArray.from_arrays(float_column(probabilities.T.reshape(-1)), self.width)
            columns.append(lists_of(flat, raw))
        finite, beyond = finite_rows(probabilities), outside(head, probabilities, sums_to_one=True)
        return HeadColumns(
            columns=columns,
            finite=None if finite is None else ~_any_step(~finite, raw),
            beyond=None if beyond is None else _any_step(beyond, raw),
        )


def lists_of(values: pa.Array, raw: Sequences) -> pa.Array:
    """Values of all steps → a list for each row."""
    offsets = to_arrow(raw.offsets.cpu().numpy()).cast(pa.int32())
    return pa.ListArray.from_arrays(offsets, values)


def _any_step(steps: Tensor, raw: Sequences) -> Tensor:
    """bool `[steps]` → bool `[rows]`: whether one of a row's is true."""
    return raw.offsets.new_zeros(raw.shape[0]).index_add_(0, rows_of_steps(raw), steps.long()) > 0


def rows_of_steps(raw: Sequences) -> Tensor:
    """The row of each step, int64 `[steps]`."""
    import torch  # by now it is imported: planning does without

    return torch.repeat_interleave(torch.arange(raw.shape[0]), raw.offsets.diff())
