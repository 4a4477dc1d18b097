"""Prepared columns → the model's inputs. Knows nothing of files or models.

A table is filled column by column into a `[features, rows]` array and handed on as its transpose: contiguous
writes, no copy, and `nn.Linear` takes the transposed view at full speed (measured: 28 M rows/s against 7 for
`RecordBatch.to_tensor`). Images are there already, and lists stand one behind the other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...schemas.inputs import AnyInput, ImageInput, SequenceInput, TableInput
from ...schemas.steps import AnyStep
from ..records import CheckedBatch, FeatureBatch, Lists, Reject, Sequences
from .program import run_steps
from .sequences import DTYPES, Found, fill_sequence, rows_of
from .tables import Columns, Filled, unfit


def scale_batch(
    checked: CheckedBatch,
    *,
    steps: Sequence[AnyStep],
    inputs: Sequence[AnyInput],
    limits: Mapping[str, int],
    sources: Mapping[str, str],
    pin: bool = False,
) -> FeatureBatch:
    """Apply the saved steps in float64, then make each input: a table `[kept, columns]` of float32 or int64, images, or
    sequences.

    A value that is finite but does not fit (beyond float32, no whole number where the model takes indices, an
    index beyond its embedding, a list that is too long) makes its row a reject of stage `scale`.

    Args:
        limits: how many rows the embedding has that a column is an index into, by column.
        sources: the raw feature that a column comes from, for the rejects to name.
        pin: fill memory that a GPU copies from by itself.
    """
    prepared = run_steps(steps, checked.columns)
    columns = prepared.columns
    unfit = list(prepared.unfit)
    filled: dict[str, Filled] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found below and rejected
        for entry in inputs:
            filled[entry.name], found = _fill(entry, columns, checked.num_kept, pin)
            unfit += found
    unfit += _out_of_range(limits, columns)
    if not unfit:
        tensors = {entry.name: _tensor(filled[entry.name], entry) for entry in inputs}
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
    tensors = {entry.name: _tensor(_fitting(filled[entry.name], entry, fits), entry) for entry in inputs}
    return FeatureBatch(batch=checked.batch, inputs=tensors, kept=before[fits], rejects=(*checked.rejects, *rejects))


def _fill(entry: AnyInput, columns: Columns, rows: int, pin: bool) -> tuple[Filled, Found]:
    match entry:
        case ImageInput():
            return columns[entry.columns[0]], []
        case SequenceInput():
            return fill_sequence(entry, columns)
    shape = len(entry.columns), rows
    array = (
        torch.empty(shape, dtype=getattr(torch, entry.dtype), pin_memory=True).numpy()
        if pin
        else np.empty(shape, dtype=DTYPES[entry.dtype])
    )
    for place, feature in enumerate(entry.columns):
        array[place] = columns[feature]
    return array, unfit(entry, array, columns)


def _fitting(filled: Filled, entry: AnyInput, fits: np.ndarray) -> Filled:
    """Of the rows that fit."""
    if isinstance(filled, Sequences):
        return filled[torch.from_numpy(np.flatnonzero(fits))]
    return np.ascontiguousarray(filled[:, fits]) if isinstance(entry, TableInput) else filled[fits]


def _tensor(filled: Filled, entry: AnyInput) -> Tensor | Sequences:
    if isinstance(filled, Sequences):
        return filled
    tensor = torch.from_numpy(filled)
    return tensor.T if isinstance(entry, TableInput) else tensor


def _out_of_range(limits: Mapping[str, int], columns: Columns) -> Found:
    """Indices that an embedding does not have. A fraction is cut off, as the model's own cast does."""
    found = []
    for name, size in limits.items():
        column = columns[name]
        values = column.values if isinstance(column, Lists) else column
        bad = np.flatnonzero((values <= -1) | (values >= size))
        if len(bad):
            rows = rows_of(bad, column.offsets) if isinstance(column, Lists) else bad
            which = "holds what is" if isinstance(column, Lists) else "is"
            found.append((rows, name, f"{which} no index of the model's embedding, which has 0 to {size - 1}"))
    return found
