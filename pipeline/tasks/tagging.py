"""Tagging: `[steps, labels]` of all rows → a list of labels per row, and their probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ...schemas.heads import TaggingHead
from ..arrays import to_arrow
from ..options import ColumnOptions
from ..records import Sequences
from .labelled import LabelledTask
from .probabilities import by_label, combined, finite_rows, float_column, labels_at, out_of_bounds
from .task import PREDICTION, HeadColumns

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble


class TaggingTask(LabelledTask[TaggingHead]):
    """A label per step of a sequence: the one with the largest raw output; ties go to the lowest label."""

    name = "tagging"
    per_step = True
    has_std = False

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:  # noqa: ARG002 - not supported for tagging
        """`prediction`, a list of labels, and either their `probability`, the `probabilities` of all labels, or
        neither."""
        probabilities = {
            "columns": [pa.field("probability", pa.list_(pa.float32()))],
            "list": [pa.field("probabilities", pa.list_(pa.list_(pa.float32(), self.width)))],
            "none": [],
        }
        return [pa.field(PREDICTION, pa.list_(self.label_type)), *probabilities[options.probabilities]]

    def decode(
        self, raw: Sequences, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """The columns listed by `fields`.

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
        finite, bad = finite_rows(probabilities), out_of_bounds(head, probabilities, sums_to_one=True)
        return HeadColumns(
            columns=columns,
            finite=None if finite is None else ~_any_step(~finite, raw),
            out_of_bounds=None if bad is None else _any_step(bad, raw),
        )


def lists_of(values: pa.Array, raw: Sequences) -> pa.Array:
    """Values of all steps → a list per row."""
    offsets = to_arrow(raw.offsets.cpu().numpy()).cast(pa.int32())
    return pa.ListArray.from_arrays(offsets, values)


def _any_step(steps: Tensor, raw: Sequences) -> Tensor:
    """bool `[steps]` → bool `[rows]`: whether it is true for any step of the row."""
    return raw.offsets.new_zeros(raw.shape[0]).index_add_(0, rows_of_steps(raw), steps.long()) > 0


def rows_of_steps(raw: Sequences) -> Tensor:
    """The row of each step, int64 `[steps]`."""
    import torch  # imported by now; planning does not need it

    return torch.repeat_interleave(torch.arange(raw.shape[0]), raw.offsets.diff())
