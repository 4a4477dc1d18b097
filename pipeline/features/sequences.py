"""Columns of lists → the values of a sequence, one behind the other. Knows nothing of padding or models."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ...schemas.bundle import SequenceInput
from ..records import Lists, Sequences
from .categories import Unfit

#: The type that numbers are handed on as, by the input's.
DTYPES = {"float32": np.float32, "int64": np.int64}


def fill_sequence(entry: SequenceInput, columns: Mapping[str, object]) -> tuple[Sequences, list[Unfit]]:
    """Lists of float64 → int64 tokens `[steps]`, or float32 `[steps, columns]`, and the rows that do not fit: longer
    than the model takes, not equally long, no whole numbers where it takes tokens, not finite as float32.
    """
    lists = [columns[name] for name in entry.columns]
    first = lists[0]
    assert isinstance(first, Lists), "check has made lists of them"
    lengths = np.diff(first.offsets)
    unfit: list[Unfit] = []
    for name, other in zip(entry.columns, lists, strict=True):
        assert isinstance(other, Lists), "check has made lists of them"
        apart = np.flatnonzero(np.diff(other.offsets) != lengths)
        if len(apart):
            unfit.append((apart, f"has another number of steps than {name!r}"))
    if unfit:  # such rows go, and what is filled for them is not looked at
        values = np.zeros((int(first.offsets[-1]), len(lists)), dtype=DTYPES[entry.dtype])
        same = np.ones(len(lengths), dtype=np.bool_)
        same[np.concatenate([rows for rows, _ in unfit])] = False
        for place, other in enumerate(lists):
            assert isinstance(other, Lists), "check has made lists of them"
            theirs = np.repeat(same, np.diff(other.offsets))
            values[np.repeat(same, lengths), place] = other.values[theirs]
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.stack([other.values for other in lists], axis=1).astype(DTYPES[entry.dtype])  # type: ignore[attr-defined]
    bad = values[:, 0] != first.values if entry.dtype == "int64" else ~np.isfinite(values).all(axis=1)
    reason = (
        "holds what is no whole number, and the model takes tokens"
        if entry.dtype == "int64"
        else "is not finite as float32 after preparation"
    )
    if bad.any():
        unfit.append((rows_of(np.flatnonzero(bad), first.offsets), reason))
    for length in np.unique(lengths[lengths > entry.longest]).tolist():
        rows = np.flatnonzero(lengths == length)
        unfit.append((rows, f"has {length} steps, and the bundle takes {entry.longest} at most"))
    tensor = torch.from_numpy(values[:, 0].copy() if entry.dtype == "int64" else values)
    return Sequences(values=tensor, offsets=torch.from_numpy(first.offsets)), unfit


def rows_of(places: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places among the values of all rows → the rows they are of, each once."""
    return np.unique(np.searchsorted(offsets, places, side="right") - 1)
