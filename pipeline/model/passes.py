"""Rows → the passes in which they go through a model: tables and images cut in order, sequences grouped by length and
padded. Knows nothing of models.

Lists of about the same length go together: the width they are padded to is a function of their own length alone, the
next of 1 to 8, 10, 12, 14, 16, 20, 24, 28, 32 …, so that less than a quarter is padding and a row is padded alike
whatever stands beside it. Where a model takes no mask nothing is padded, and only lists of one length go together.
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

#: Up to here every length is a width of its own.
EXACT_WIDTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """`arguments`: what the model takes, by name and in order, a row each. `places`: of those rows among all, int64, or
    the slice they are. `lengths`: of the first sequence of each, int64, None where there is none, and `width` what they
    are padded to."""

    places: slice | Tensor
    arguments: dict[str, Tensor]
    lengths: Tensor | None = None
    width: int = 1

    @property
    def num_rows(self) -> int:
        """How many rows go through."""
        return num_rows(self.arguments)


class Passes:
    """How the rows of a bundle's inputs are cut.

    Args:
        pass_rows: how many rows, or steps of sequences, go through at once.
        padded: whether sequences may be padded at all.
    """

    def __init__(self, entries: Sequence[AnyInput], *, pass_rows: int, padded: bool = True) -> None:
        self.pass_rows = pass_rows
        #: Steps to pad with beside the usual ones: what they change, a mask does not hide.
        self.extra = 0
        #: Whether a model needs the rows of a table one behind the other in memory. They come column by column, which
        #: `nn.Linear` takes as fast.
        self.contiguous = any(kind_of(entry).contiguous for entry in entries)
        self._padded, self._stopped = padded, False
        self._sequences: dict[str, SequenceInput] = {
            entry.name: kind_of(entry).entry for entry in entries if kind_of(entry).has_steps
        }

    def stop(self) -> None:
        """From now on `cut` ends at the next pass, in whatever thread."""
        self._stopped = True

    def heed_stop(self) -> None:
        """Raise StoppedError where `stop` was called."""
        if self._stopped:
            raise StoppedError("the run has ended")

    def cut(self, inputs: Inputs, pass_rows: int | None = None) -> Iterator[Pass]:
        """Every row in one pass, those of tables and images in order.

        Args:
            pass_rows: instead of those that are usual.

        Raises:
            StoppedError: instead of the next pass, after `stop`.
        """
        rows, step = num_rows(inputs), pass_rows or self.pass_rows
        if not self._sequences:
            for start in range(0, rows, step):
                self.heed_stop()
                places = slice(start, start + step)
                yield Pass(places=places, arguments={name: self._laid(given[places]) for name, given in inputs.items()})
            return
        widths = torch.stack([self._widths(entry, inputs[name]) for name, entry in self._sequences.items()], dim=1)
        groups, group = torch.unique(widths, dim=0, return_inverse=True)
        for number, width in enumerate(groups.tolist()):
            together = (group == number).nonzero()[:, 0]
            for places in together.split(max(1, step // max(width))):
                self.heed_stop()
                yield self._padded_pass(inputs, places, dict(zip(self._sequences, width, strict=True)))

    def _laid(self, rows: Tensor | Sequences) -> Tensor:
        assert isinstance(rows, Tensor), "sequences are padded"
        return rows.contiguous() if self.contiguous else rows

    def _widths(self, entry: SequenceInput, given: Tensor | Sequences) -> Tensor:
        assert isinstance(given, Sequences), "the input of a sequence is one"
        lengths = given.offsets.diff()
        if entry.mask is None or not self._padded:
            return lengths
        return (padded_widths(lengths) + self.extra).clamp(max=entry.longest)

    def _padded_pass(self, inputs: Inputs, places: Tensor, widths: Mapping[str, int]) -> Pass:
        arguments: dict[str, Tensor] = {}
        first: Tensor | None = None
        for name, given in inputs.items():
            entry = self._sequences.get(name)
            if entry is None:
                arguments[name] = self._laid(given[places])
                continue
            rows = given[places]
            assert isinstance(rows, Sequences), "the input of a sequence is one"
            lengths = rows.offsets.diff()
            first = lengths if first is None else first
            arguments[name] = pad(rows, widths[name], entry.pad)
            if entry.mask is not None:
                arguments[f"{name}_mask"] = mask_of(entry, lengths, widths[name])
        return Pass(places=places, arguments=arguments, lengths=first, width=widths[next(iter(self._sequences))])


def num_rows(inputs: Inputs) -> int:
    """How many rows there are."""
    return next(iter(inputs.values())).shape[0]


def size(inputs: Inputs) -> int:
    """How many rows there are, or steps, where there are more."""
    return max(given.values.shape[0] if isinstance(given, Sequences) else len(given) for given in inputs.values())


def padded_widths(lengths: Tensor) -> Tensor:
    """int64 lengths → the widths they are padded to."""
    exponents = (lengths - 1).clamp(min=1).double().log2().floor().long()  # exact: lengths are far below 2^53
    step = 2 ** (exponents - 2).clamp(min=0)
    return torch.where(lengths <= EXACT_WIDTH, lengths, (lengths + step - 1) // step * step)


def pad(rows: Sequences, width: int, value: int) -> Tensor:
    """Sequences as `[rows, width, …]`, with `value` behind their end."""
    kept = steps_kept(rows.offsets.diff(), width)
    padded = rows.values.new_full((*kept.shape, *rows.values.shape[1:]), value)
    padded[kept] = rows.values
    return padded


def in_order(values: Sequence[Tensor | Sequences], places: Sequence[slice | Tensor]) -> Tensor | Sequences:
    """What passes gave, put back into the order of the rows."""
    joined = _joined(values)
    order = [place for place in places if isinstance(place, Tensor)]
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
