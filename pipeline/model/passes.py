"""Divides rows into forward passes: tables and images in order, sequences grouped by length and padded. Independent of
models.

Lists of about the same length share a pass: the width that a list is padded to depends on its own length alone. It is
the next of 1 to 8, 10, 12, 14, 16, 20, 24, 28, 32 …, so that less than a quarter is padding, and a row is padded the
same whichever rows share its pass. Where a model takes no mask, nothing is padded, and only lists of the same length
share a pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...schemas.inputs import AnyInput, SequenceInput
from ..errors import StoppedError
from ..features.kinds import kind_of
from ..features.sequences import mask_of, steps_kept
from ..records import Inputs, Sequences

#: Up to this length, every length is a width.
EXACT_WIDTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """`arguments`: the arguments of the model by name, in order. `positions`: the indices of the rows among all, int64,
    or their slice. `lengths`: the lengths of the first sequence, int64, None where there is none; `width`: what they
    are padded to."""

    positions: slice | Tensor
    arguments: dict[str, Tensor]
    lengths: Tensor | None = None
    width: int = 1

    @property
    def num_rows(self) -> int:
        """How many rows the pass has."""
        return num_rows(self.arguments)


class Passes:
    """Divides the rows of a bundle's inputs into passes.

    Args:
        pass_rows: the most rows, or steps of sequences, of one pass.
        padded: whether sequences may be padded.
    """

    def __init__(self, entries: Sequence[AnyInput], *, pass_rows: int, padded: bool = True) -> None:
        self.pass_rows = pass_rows
        #: Additional steps of padding; results that they change show that the model ignores the mask.
        self.extra = 0
        #: Whether a model needs tables in row-major order. They are column-major, which is as fast for `nn.Linear`.
        self.contiguous = any(kind_of(entry).contiguous for entry in entries)
        self._padded, self._stopped = padded, False
        self._sequences: dict[str, SequenceInput] = {
            entry.name: kind_of(entry).entry for entry in entries if kind_of(entry).has_steps
        }

    def stop(self) -> None:
        """Make `cut` raise StoppedError at the next pass, in every thread."""
        self._stopped = True

    def check_stopped(self) -> None:
        """Raise StoppedError if `stop` was called."""
        if self._stopped:
            raise StoppedError("the run has ended")

    def cut(self, inputs: Inputs, pass_rows: int | None = None) -> Iterator[Pass]:
        """Yield passes that together hold every row once; those of tables and images in order.

        Args:
            pass_rows: replaces the default.

        Raises:
            StoppedError: `stop` was called.
        """
        rows, step = num_rows(inputs), pass_rows or self.pass_rows
        if not self._sequences:
            for start in range(0, rows, step):
                self.check_stopped()
                positions = slice(start, start + step)
                yield Pass(
                    positions=positions,
                    arguments={name: self._laid_out(given[positions]) for name, given in inputs.items()},
                )
            return
        widths = torch.stack([self._widths(entry, inputs[name]) for name, entry in self._sequences.items()], dim=1)
        groups, group = torch.unique(widths, dim=0, return_inverse=True)
        for number, width in enumerate(groups.tolist()):
            together = (group == number).nonzero()[:, 0]
            for positions in together.split(max(1, step // max(width))):
                self.check_stopped()
                yield self._padded_pass(inputs, positions, dict(zip(self._sequences, width, strict=True)))

    def _laid_out(self, rows: Tensor | Sequences) -> Tensor:
        assert isinstance(rows, Tensor), "sequences are padded"
        return rows.contiguous() if self.contiguous else rows

    def _widths(self, entry: SequenceInput, given: Tensor | Sequences) -> Tensor:
        assert isinstance(given, Sequences), "the input is a sequence"
        lengths = given.offsets.diff()
        if entry.mask is None or not self._padded:
            return lengths
        return (padded_widths(lengths) + self.extra).clamp(max=entry.longest)

    def _padded_pass(self, inputs: Inputs, positions: Tensor, widths: Mapping[str, int]) -> Pass:
        arguments: dict[str, Tensor] = {}
        first: Tensor | None = None
        for name, given in inputs.items():
            entry = self._sequences.get(name)
            if entry is None:
                arguments[name] = self._laid_out(given[positions])
                continue
            rows = given[positions]
            assert isinstance(rows, Sequences), "the input is a sequence"
            lengths = rows.offsets.diff()
            first = lengths if first is None else first
            arguments[name] = pad(rows, widths[name], entry.pad)
            if entry.mask is not None:
                arguments[f"{name}_mask"] = mask_of(entry, lengths, widths[name])
        return Pass(positions=positions, arguments=arguments, lengths=first, width=widths[next(iter(self._sequences))])


def num_rows(inputs: Inputs) -> int:
    """The number of rows."""
    return next(iter(inputs.values())).shape[0]


def size(inputs: Inputs) -> int:
    """The number of rows, or of steps where there are more."""
    return max(given.values.shape[0] if isinstance(given, Sequences) else len(given) for given in inputs.values())


def padded_widths(lengths: Tensor) -> Tensor:
    """int64 lengths → the widths they are padded to."""
    powers = 2 ** torch.arange(63, device=lengths.device)  # integers: log2(8) is less than 3 on a GPU
    exponents = torch.bucketize((lengths - 1).clamp(min=1), powers, right=True) - 1
    step = powers[(exponents - 2).clamp(min=0)]
    return torch.where(lengths <= EXACT_WIDTH, lengths, (lengths + step - 1) // step * step)


def pad(rows: Sequences, width: int, value: int) -> Tensor:
    """Sequences as `[rows, width, …]`, padded with `value` at their end."""
    kept = steps_kept(rows.offsets.diff(), width)
    padded = rows.values.new_full((*kept.shape, *rows.values.shape[1:]), value)
    padded[kept] = rows.values
    return padded


def in_row_order(values: Sequence[Tensor | Sequences], positions: Sequence[slice | Tensor]) -> Tensor | Sequences:
    """The results of passes, joined and in the order of the rows."""
    joined = _joined(values)
    order = [position for position in positions if isinstance(position, Tensor)]
    return joined[torch.argsort(torch.cat(order))] if order else joined


def _joined(values: Sequence[Tensor | Sequences]) -> Tensor | Sequences:
    if len(values) == 1:
        return values[0]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if tensors:
        return torch.cat(tensors)
    several = [value for value in values if isinstance(value, Sequences)]
    lengths = torch.cat([value.offsets.diff() for value in several])
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return Sequences(values=torch.cat([value.values for value in several]), offsets=offsets)
