"""Columns of lists → the values of a sequence, one behind the other. Knows nothing of padding or models."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ...schemas.inputs import SequenceInput
from ..records import Lists, Sequences

#: The type that numbers are handed on as, by the input's.
DTYPES = {"float32": np.float32, "int64": np.int64}
WRONG = {
    "int64": "holds what is no whole number, and the model takes tokens",
    "float32": "is not finite as float32 after preparation",
}
#: Rows that have no value, the column and the reason.
Found = list[tuple[NDArray[np.int64], str, str]]


def fill_sequence(entry: SequenceInput, columns: Mapping[str, Lists]) -> tuple[Sequences, Found]:
    """Lists of float64 → int64 tokens `[steps]`, or float32 `[steps, columns]`, and the rows that do not fit, with the
    column and the reason: longer than the model takes, not equally long, no whole numbers where it takes tokens, not
    finite as float32.
    """
    lists = [columns[name] for name in entry.columns]
    offsets = lists[0].offsets
    lengths = np.diff(offsets)
    same, unfit = np.ones(len(lengths), dtype=np.bool_), []
    for name, other in zip(entry.columns, lists, strict=True):
        apart = np.diff(other.offsets) != lengths
        same &= ~apart
        if apart.any():
            unfit.append((np.flatnonzero(apart), name, f"has another number of steps than {entry.columns[0]!r}"))
    values = np.zeros((int(offsets[-1]), len(lists)), dtype=DTYPES[entry.dtype])
    there = np.repeat(same, lengths)  # of the others, which go, zeros will do
    for place, (name, other) in enumerate(zip(entry.columns, lists, strict=True)):
        theirs = other.values if same.all() else other.values[np.repeat(same, np.diff(other.offsets))]
        with np.errstate(over="ignore", invalid="ignore"):
            values[there, place] = theirs
        kept = values[there, place]
        bad = np.flatnonzero(there)[(kept != theirs) if entry.dtype == "int64" else ~np.isfinite(kept)]
        if len(bad):
            unfit.append((rows_of(bad, offsets), name, WRONG[entry.dtype]))
    for length in np.unique(lengths[lengths > entry.longest]).tolist():
        rows = np.flatnonzero(lengths == length)
        reason = f"has {length} steps, and the bundle takes {entry.longest} at most"
        unfit.append((rows, entry.columns[0], reason))
    tensor = torch.from_numpy(values[:, 0].copy() if entry.dtype == "int64" else values)
    return Sequences(values=tensor, offsets=torch.from_numpy(offsets)), unfit


def rows_of(places: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places among the values of all rows → the rows they are of, each once."""
    return np.unique(np.searchsorted(offsets, places, side="right") - 1)
