"""Converts checked columns to the model's inputs, by the saved steps and the kind of each input."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...schemas.inputs import AnyInput
from ...schemas.steps import AnyStep
from ..records import CheckedBatch, FeatureBatch, Lists, Reject
from .kind import Filled, Unfit
from .kinds import kind_of
from .program import run_steps
from .sequences import rows_of


def scale_batch(
    checked: CheckedBatch,
    *,
    steps: Sequence[AnyStep],
    inputs: Sequence[AnyInput],
    limits: Mapping[str, int],
    sources: Mapping[str, str],
    pin: bool = False,
) -> FeatureBatch:
    """Apply the saved steps in float64, then create each input: a table `[kept, columns]` of float32 or int64, images,
    or sequences.

    A finite value that does not fit (outside float32, a fraction where the model takes indices, an index outside its
    embedding, a list that is too long) makes its row a reject of stage `scale`.

    Args:
        limits: the size of the embedding that a column is an index into, by column.
        sources: the raw feature that a column is computed from, which rejects name.
        pin: fill pinned memory, from which a GPU can copy asynchronously.
    """
    prepared = run_steps(steps, checked.columns)
    columns = prepared.columns
    unfit = list(prepared.unfit)
    kinds = [kind_of(entry) for entry in inputs]
    filled: list[Filled] = []
    with np.errstate(over="ignore", invalid="ignore"):  # overflows are found below and rejected
        for kind in kinds:
            values, found = kind.fill(columns, checked.num_kept, pin=pin)
            filled.append(values)
            unfit += found
    unfit += _out_of_range(limits, columns)
    if not unfit:
        tensors = {kind.entry.name: kind.tensor(values) for kind, values in zip(kinds, filled, strict=True)}
        return FeatureBatch(batch=checked.batch, inputs=tensors, kept=checked.kept, rejects=checked.rejects)
    fits = np.ones(checked.num_kept, dtype=bool)
    before = np.arange(checked.num_kept, dtype=np.int64) if checked.kept is None else checked.kept
    rejects = []
    for positions, column, reason in unfit:
        fresh = positions[fits[positions]]
        fits[fresh] = False
        if len(fresh):
            reasons = (reason,) * len(fresh)
            named = sources.get(column, column)
            rejects.append(Reject(positions=before[fresh], stage="scale", column=named, reasons=reasons))
    tensors = {
        kind.entry.name: kind.tensor(kind.keep(values, fits, pin=pin))
        for kind, values in zip(kinds, filled, strict=True)
    }
    return FeatureBatch(batch=checked.batch, inputs=tensors, kept=before[fits], rejects=(*checked.rejects, *rejects))


def _out_of_range(limits: Mapping[str, int], columns: Mapping[str, Any]) -> Unfit:
    """Indices outside their embedding. Fractions are truncated, as in the model's own cast."""
    found = []
    for name, size in limits.items():
        column = columns[name]
        values = column.values if isinstance(column, Lists) else column
        values = values[:, 0] if values.ndim > 1 else values  # a token is followed by its type
        bad = np.flatnonzero((values <= -1) | (values >= size))
        if len(bad):
            rows = rows_of(bad, column.offsets) if isinstance(column, Lists) else bad
            what = "has a value" if isinstance(column, Lists) else "is"
            found.append((rows, name, f"{what} outside the embedding's range 0–{size - 1}"))
    return found
