"""Sequences: columns of lists → the values of all rows, one behind the other; and the masks of padded ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.inputs import SequenceInput
from ..records import Lists, Sequences
from .kind import Columns, Filled, InputKind, Unfit

if TYPE_CHECKING:
    from torch import Tensor

#: The type that numbers are handed on as, by the input's.
DTYPES = {"float32": np.float32, "int64": np.int64}
WRONG = {
    "int64": "holds what is no whole number, and the model takes tokens",
    "float32": "is not finite as float32 after preparation",
}


class SequenceKind(InputKind[SequenceInput]):
    """Lists of different lengths."""

    name = "sequence"
    has_steps = True

    @property
    def values_per_row(self) -> int:
        """Those of the longest list, as they are read, filled, padded and masked."""
        return 4 * self.entry.numbers

    @property
    def bytes_per_row(self) -> int:
        """Of the longest list: float64, and the tensor."""
        return 16 * self.entry.numbers

    @property
    def masked(self) -> bool:
        """Whether the model takes a mask."""
        return self.entry.mask is not None

    def describe(self) -> str:
        """Its type and shape, and how lists of different lengths go through."""
        width = "" if self.entry.takes_integers else f", {len(self.entry.columns)}"
        how = "alone by length" if self.entry.mask is None else f"padded, with a mask ({self.entry.mask})"
        return f"{self.entry.dtype} [rows, up to {self.entry.longest} steps{width}], {how}"

    def fill(self, columns: Columns, rows: int, *, pin: bool) -> tuple[Filled, Unfit]:  # noqa: ARG002 - it is copied
        """Tokens `[steps]` or float32 `[steps, columns]`."""
        return fill_sequence(self.entry, columns)

    def keep(self, filled: Filled, fits: NDArray[np.bool_]) -> Filled:
        """Only the rows that fit."""
        import torch  # by now it is imported: planning does without

        assert isinstance(filled, Sequences), "as it was filled"
        return filled[torch.from_numpy(np.flatnonzero(fits))]

    def tensor(self, filled: Filled) -> Sequences:
        """As it was filled: it is padded pass by pass."""
        assert isinstance(filled, Sequences), "as it was filled"
        return filled

    def example(self, rows: int, steps: int, device: Any) -> dict[str, Tensor]:
        """Zeros `[rows, steps, …]`, and their mask."""
        import torch  # by now it is imported: planning does without

        steps = min(self.entry.longest, steps)
        shape = (rows, steps, *([] if self.entry.takes_integers else [len(self.entry.columns)]))
        zeros = torch.zeros(shape, dtype=getattr(torch, self.entry.dtype), device=device)
        lengths = torch.full((rows,), steps, device=device)
        masks = [mask_of(self.entry, lengths, steps)] if self.masked else []
        return dict(zip(self.entry.arguments, [zeros, *masks], strict=True))


def steps_kept(lengths: Tensor, width: int) -> Tensor:
    """bool `[rows, width]`: which steps are there."""
    import torch  # by now it is imported: planning does without

    return torch.arange(width, device=lengths.device) < lengths[:, None]


def mask_of(entry: SequenceInput, lengths: Tensor, width: int) -> Tensor:
    """The argument behind a sequence, as the model takes it."""
    match entry.mask:
        case "real":
            return steps_kept(lengths, width)
        case "padding":
            return ~steps_kept(lengths, width)
    return lengths


def fill_sequence(entry: SequenceInput, columns: Mapping[str, Lists]) -> tuple[Sequences, Unfit]:
    """Lists of float64 → int64 tokens `[steps]`, or float32 `[steps, columns]`, and the rows that do not fit, with the
    column and the reason: longer than the model takes, not equally long, no whole numbers where it takes tokens, not
    finite as float32.
    """
    import torch  # by now it is imported: planning does without

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
