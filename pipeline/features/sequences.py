"""Sequences: columns of lists → the concatenated values of all rows; and the masks of padded sequences."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...schemas.inputs import SequenceInput, StepInput
from ..records import Lists, Sequences
from .columns import Columns
from .kind import Filled, InputKind, Unfit
from .pinned import new_array, pinned_copy

if TYPE_CHECKING:
    from torch import Tensor

StepT = TypeVar("StepT", bound=StepInput)
#: numpy types by the dtype of the input.
DTYPES = {"float32": np.float32, "int64": np.int64}
WRONG = {
    "int64": "has a value that is not a whole number, but the model takes tokens",
    "float32": "is not finite as float32 after preparation",
}


class StepKind(InputKind[StepT]):
    """Rows with different numbers of steps, padded for each forward pass."""

    has_steps = True

    @property
    def values_per_row(self) -> int:
        """The values of the longest row, counted once each for reading, filling, padding and the mask."""
        return 4 * self.entry.numbers

    @property
    def bytes_per_row(self) -> int:
        """The bytes of the longest row, as float64 and as a tensor."""
        return 16 * self.entry.numbers

    @property
    def masked(self) -> bool:
        """Whether the model takes a mask."""
        return self.entry.mask is not None

    def describe(self) -> str:
        """The type and shape, and how rows of different lengths are batched."""
        width = "" if self.entry.takes_integers else f", {len(self.entry.columns)}"
        how = "batched by length" if self.entry.mask is None else f"padded, with a mask ({self.entry.mask})"
        return f"{self.entry.dtype} [rows, up to {self.entry.longest} steps{width}], {how}"

    def keep(self, filled: Filled, fits: NDArray[np.bool_], *, pin: bool) -> Filled:
        """Only the rows that fit."""
        import torch  # imported by now; planning does not need it

        assert isinstance(filled, Sequences), "as it was filled"
        kept = filled[torch.from_numpy(np.flatnonzero(fits))]
        if not pin:
            return kept
        return Sequences(values=pinned_copy(kept.values), offsets=pinned_copy(kept.offsets))

    def tensor(self, filled: Filled) -> Sequences:
        """The sequences unchanged: they are padded for each forward pass."""
        assert isinstance(filled, Sequences), "as it was filled"
        return filled

    def padded(self, values: Tensor, kept: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """The arguments of the model for rows that were padded.

        Args:
            values: `[rows, width, …]`, padded with `pad`.
            kept: bool `[rows, width]`: which steps exist.
            lengths: int64 `[rows]`.
        """
        masks = [mask_of(self.entry, kept, lengths)] if self.masked else []
        return dict(zip(self.entry.arguments, [values, *masks], strict=True))

    def example(self, rows: int, steps: int, device: Any) -> dict[str, Tensor]:
        """Zeros `[rows, steps, …]`, and their mask."""
        import torch  # imported by now; planning does not need it

        steps = min(self.entry.longest, steps)
        zeros = torch.zeros(rows, steps, *self.step_shape, dtype=getattr(torch, self.entry.dtype), device=device)
        lengths = torch.full((rows,), steps, device=device)
        return self.padded(zeros, steps_kept(lengths, steps), lengths)

    @property
    @abstractmethod
    def step_shape(self) -> tuple[int, ...]:
        """The shape of the values of a step."""


class SequenceKind(StepKind[SequenceInput]):
    """Lists of different lengths."""

    name = "sequence"

    @property
    def step_shape(self) -> tuple[int, ...]:
        """A token, or one number for each column."""
        return () if self.entry.takes_integers else (len(self.entry.columns),)

    def fill(self, columns: Columns, rows: int, *, pin: bool) -> tuple[Filled, Unfit]:  # noqa: ARG002 - the lists have their number
        """Tokens `[steps]` or float32 `[steps, columns]`."""
        return fill_sequence(self.entry, columns, pin=pin)


def steps_kept(lengths: Tensor, width: int) -> Tensor:
    """bool `[rows, width]`: which steps exist."""
    import torch  # imported by now; planning does not need it

    return torch.arange(width, device=lengths.device) < lengths[:, None]


def mask_of(entry: StepInput, kept: Tensor, lengths: Tensor) -> Tensor:
    """The mask or lengths that the model takes after a sequence."""
    match entry.mask:
        case "real":
            return kept
        case "attention":
            return kept.long()
        case "padding":
            return ~kept
    return lengths


def fill_sequence(entry: SequenceInput, columns: Mapping[str, Lists], *, pin: bool = False) -> tuple[Sequences, Unfit]:
    """Lists of float64 → int64 tokens `[steps]`, or float32 `[steps, columns]`, and the rows that do not fit, with the
    column and the reason: too long for the model, columns of different lengths, tokens that are not whole numbers, or
    values that are not finite as float32.

    Args:
        pin: fill pinned memory.
    """
    import torch  # imported by now; planning does not need it

    lists = [columns[name] for name in entry.columns]
    offsets = lists[0].offsets
    lengths = np.diff(offsets)
    same, unfit = np.ones(len(lengths), dtype=np.bool_), []
    for name, other in zip(entry.columns, lists, strict=True):
        apart = np.diff(other.offsets) != lengths
        same &= ~apart
        if apart.any():
            unfit.append((np.flatnonzero(apart), name, f"has a different number of steps than {entry.columns[0]!r}"))
    values = new_array((int(offsets[-1]), len(lists)), DTYPES[entry.dtype], pin=pin)
    values[:] = 0
    there = np.repeat(same, lengths)  # other rows are rejected, so their zeros do not matter
    for index, (name, other) in enumerate(zip(entry.columns, lists, strict=True)):
        theirs = other.values if same.all() else other.values[np.repeat(same, np.diff(other.offsets))]
        with np.errstate(over="ignore", invalid="ignore"):
            values[there, index] = theirs
        kept = values[there, index]
        bad = np.flatnonzero(there)[(kept != theirs) if entry.dtype == "int64" else ~np.isfinite(kept)]
        if len(bad):
            unfit.append((rows_of(bad, offsets), name, WRONG[entry.dtype]))
    for length in np.unique(lengths[lengths > entry.longest]).tolist():
        rows = np.flatnonzero(lengths == length)
        reason = f"has {length} steps, but the bundle takes at most {entry.longest}"
        unfit.append((rows, entry.columns[0], reason))
    tensor, starts = torch.from_numpy(values[:, 0] if entry.dtype == "int64" else values), torch.from_numpy(offsets)
    return Sequences(values=tensor, offsets=pinned_copy(starts) if pin else starts), unfit


def rows_of(positions: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions among the values of all rows → their rows, without duplicates."""
    return np.unique(np.searchsorted(offsets, positions, side="right") - 1)
