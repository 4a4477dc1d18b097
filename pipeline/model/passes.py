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

from ...schemas.inputs import AnyInput, StepInput
from ..errors import StoppedError
from ..features.kinds import kind_of
from ..features.sequences import StepKind, steps_kept
from ..records import Inputs, Sequences

#: Up to this length, every length is a width.
EXACT_WIDTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """`arguments`: the arguments of the model by name, in order. `positions`: the indices of the rows among all, int64,
    or their slice. `lengths`: the lengths of the first sequence, int64, None where there is none; `width`: what they
    are padded to. `host_positions`, `host_lengths`: both in the host's memory."""

    positions: slice | Tensor
    arguments: dict[str, Tensor]
    lengths: Tensor | None = None
    width: int = 1
    host_positions: Tensor | None = None
    host_lengths: Tensor | None = None

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
        #: Whether lists of all lengths share a pass, as wide as the longest; shows that the model ignores the others.
        self.together = False
        #: Whether a model needs tables in row-major order. They are column-major, which `nn.Linear` takes as they are.
        self.contiguous = any(kind_of(entry).contiguous for entry in entries)
        #: Whether images are laid out channels last on a GPU.
        self.channels_last = False
        self._kinds = {entry.name: kind_of(entry) for entry in entries}
        self._padded, self._stopped = padded, False
        self._sequences: dict[str, StepInput] = {
            entry.name: kind_of(entry).entry for entry in entries if kind_of(entry).has_steps
        }

    @property
    def pads(self) -> bool:
        """Whether rows have different lengths."""
        return bool(self._sequences)

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
                    arguments={name: self._argument(name, given[positions]) for name, given in inputs.items()},
                )
            return
        yield from self._cut_sequences(inputs, step)

    def _cut_sequences(self, inputs: Inputs, step: int) -> Iterator[Pass]:
        """Sort the rows by their widths; where they are on a device, there and on the host, which thus knows every size
        without waiting for the device."""
        widths = [self._widths(entry, _sequences(inputs[name]).host_offsets) for name, entry in self._sequences.items()]
        order = ordered = _order(widths)
        if any(_sequences(inputs[name]).on_host is not None for name in self._sequences):
            ordered = _order([self._widths(e, _sequences(inputs[name]).offsets) for name, e in self._sequences.items()])
        if not len(order):
            return
        sequences = {name: _Ordered.of(_sequences(inputs[name]), ordered, order) for name in self._sequences}
        keys = torch.stack([width[order] for width in widths], dim=1)
        starts = [0, *((keys[1:] != keys[:-1]).any(dim=1).nonzero()[:, 0] + 1).tolist()]
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            width = dict(zip(self._sequences, keys[start : start + 1].flatten().tolist(), strict=True))
            most = max(1, step // max(1, *width.values()))
            for first in range(start, stop, most):
                self.check_stopped()
                one = slice(first, min(first + most, stop))
                own = {name: given[one] for name, given in sequences.items()}
                yield self._padded_pass(inputs, own, ordered[one], order[one], width)

    def _argument(self, name: str, rows: Tensor | Sequences) -> Tensor:
        assert isinstance(rows, Tensor), "sequences are padded"
        kind = self._kinds[name]
        rows = kind.on_device(rows, channels_last=self.channels_last)
        return rows.contiguous() if self.contiguous and kind.tabular else rows

    def _widths(self, entry: StepInput, offsets: Tensor) -> Tensor:
        lengths = offsets.diff()
        if entry.mask is None or not self._padded:
            return lengths
        if self.together and len(lengths):
            return lengths.max().expand_as(lengths)
        return (padded_widths(lengths) + self.extra).clamp(max=entry.longest)

    def _padded_pass(
        self,
        inputs: Inputs,
        sequences: Mapping[str, "_Ordered"],
        rows: Tensor,
        on_host: Tensor,
        widths: Mapping[str, int],
    ) -> Pass:
        arguments: dict[str, Tensor] = {}
        for name, given in inputs.items():
            if name not in sequences:
                arguments[name] = self._argument(name, given[rows])
                continue
            own, kind = sequences[name], self._kinds[name]
            assert isinstance(kind, StepKind), "the kind of every input with steps"
            kept = steps_kept(own.lengths, widths[name])
            arguments |= kind.padded(pad(own.values, own.starts, kept, kind.entry.pad), kept, own.lengths)
        name, first = next(iter(sequences.items()))
        return Pass(
            positions=rows,
            arguments=arguments,
            lengths=first.lengths,
            width=widths[name],
            host_positions=on_host,
            host_lengths=first.host_lengths,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ordered:
    """Rows of a sequence in the order of the passes: where they start in `values`, and how long they are."""

    values: Tensor
    starts: Tensor
    lengths: Tensor
    host_lengths: Tensor

    @classmethod
    def of(cls, given: Sequences, rows: Tensor, on_host: Tensor) -> "_Ordered":
        """The rows at some indices, which are given on the device and in the host's memory."""
        return cls(
            values=given.values,
            starts=given.offsets[:-1][rows],
            lengths=given.lengths(rows),
            host_lengths=given.host_lengths(on_host),
        )

    def __getitem__(self, one: slice) -> "_Ordered":
        """The rows of a pass."""
        return _Ordered(
            values=self.values,
            starts=self.starts[one],
            lengths=self.lengths[one],
            host_lengths=self.host_lengths[one],
        )


def _sequences(given: Tensor | Sequences) -> Sequences:
    assert isinstance(given, Sequences), "the input is a sequence"
    return given


def _order(widths: Sequence[Tensor]) -> Tensor:
    """The rows sorted by their widths, those of the first sequence first; rows of equal widths in their order."""
    order = torch.argsort(widths[-1], stable=True)
    for width in reversed(widths[:-1]):
        order = order[torch.argsort(width[order], stable=True)]
    return order


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


def pad(values: Tensor, starts: Tensor, kept: Tensor, value: int) -> Tensor:
    """Rows of concatenated values as `[rows, width, …]`, padded with `value` at their end.

    Args:
        starts: the index of the first step of each row.
        kept: bool `[rows, width]`: which steps exist.
    """
    shape = (*kept.shape, *values.shape[1:])
    if not len(values):
        return values.new_full(shape, value)
    steps = torch.arange(kept.shape[1], device=starts.device)
    indices = (starts[:, None] + steps).clamp_(max=len(values) - 1)
    padded = values.index_select(0, indices.flatten()).reshape(shape)
    return torch.where(kept.reshape(*kept.shape, *[1] * (values.dim() - 1)), padded, value)


def real_steps(values: Tensor, one: Pass) -> Sequences:
    """`[rows, padded steps, …]` of a pass → the values of the real steps, without padding."""
    lengths = one.lengths
    assert lengths is not None, "the bundle has a sequence"
    assert one.host_lengths is not None, "they are set together"
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    known = torch.cat([one.host_lengths.new_zeros(1), one.host_lengths.cumsum(0)])
    total, width = int(known[-1]), values.shape[1]
    before = torch.arange(len(lengths), device=lengths.device) * width - offsets[:-1]
    indices = torch.arange(total, device=lengths.device)
    indices += torch.repeat_interleave(before, lengths, output_size=total)
    kept = values.flatten(0, 1).index_select(0, indices)
    return Sequences(values=kept, offsets=offsets, on_host=known if values.is_cuda else None)


def in_row_order(
    values: Sequence[Tensor | Sequences],
    positions: Sequence[slice | Tensor],
    host_positions: Sequence[Tensor | None] = (),
) -> Tensor | Sequences:
    """The results of passes, joined and in the order of the rows.

    Args:
        host_positions: the positions in the host's memory, where `positions` are on a device.
    """
    joined = _joined(values)
    order = [position for position in positions if isinstance(position, Tensor)]
    if not order:
        return joined
    rows = torch.argsort(torch.cat(order))
    if isinstance(joined, Tensor):
        return joined[rows]
    on_host = [position for position in host_positions if position is not None]
    return joined.take(rows, torch.argsort(torch.cat(on_host)) if on_host else None)


def _joined(values: Sequence[Tensor | Sequences]) -> Tensor | Sequences:
    if len(values) == 1:
        return values[0]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if tensors:
        return torch.cat(tensors)
    several = [value for value in values if isinstance(value, Sequences)]
    known = [value.on_host for value in several if value.on_host is not None]
    return Sequences(
        values=torch.cat([value.values for value in several]),
        offsets=_offsets([value.offsets for value in several]),
        on_host=_offsets(known) if len(known) == len(several) else None,
    )


def _offsets(several: Sequence[Tensor]) -> Tensor:
    """The offsets of sequences that are joined."""
    lengths = torch.cat([offsets.diff() for offsets in several])
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
