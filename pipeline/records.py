"""The frozen records that are passed between stages. Independent of the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.cuda import Event

#: The model's inputs by name; the first dimension is the rows.
Inputs: TypeAlias = "Mapping[str, Tensor | Sequences]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """One input file. `name` is its path below the input's root, with `/`; `hive` the `key=value` folders in
    that path, outermost first (a value of None is Hive's null). Size, mtime and inode identify its contents; for an
    object, whose `path` is a URI, size, mtime and `etag`."""

    path: str
    name: str
    format: str
    size: int
    mtime_ns: int
    inode: int = 0
    etag: str | None = None
    hive: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRows:
    """Rows as a reader returned them, in file order. `unreadable`: the positions of the rows that could not be parsed,
    with the reason; all their cells are null."""

    batch: pa.RecordBatch
    unreadable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A range of consecutive rows of a partition, read, scored and published as one. `last`: no rows come after it."""

    index: int
    first_row: int
    num_rows: int
    last: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadBlock:
    """The rows of one forward pass as a reader returned them, all of one split. `first_row`: the number of the first
    row in its partition; `num_bytes`: the bytes of the rows (`row_bytes.batch_bytes`)."""

    split: int
    first_row: int
    batch: pa.RecordBatch
    num_bytes: int
    unreadable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """Rows that could not be scored, for one reason. `positions`: int64 `[n]`, in the batch as read."""

    positions: NDArray[np.int64]
    stage: str
    column: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedBatch:
    """Feature columns by name: float64 `[kept]`, Arrow strings, lists, or images: bytes or paths until they
    are decoded to pixels (`stages/images.py`); `kept`: int64 positions in `batch`, None if all rows
    are kept."""

    batch: pa.RecordBatch
    columns: Mapping[str, NDArray[np.float64] | pa.Array | Lists | NDArray[np.float32] | NDArray[np.uint8]]
    kept: NDArray[np.int64] | None
    rejects: tuple[Reject, ...] = ()

    @property
    def num_kept(self) -> int:
        """How many rows go on to the next stage."""
        return self.batch.num_rows if self.kept is None else len(self.kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """A column of lists: `values` of all rows concatenated, float64 or Arrow strings; `offsets` int64
    `[rows + 1]`."""

    values: NDArray[np.float64] | pa.Array
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def only(self, rows: NDArray[np.int64]) -> Lists:
        """The rows at some indices, in that order."""
        import numpy as np

        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        indices = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        values = self.values[indices] if isinstance(self.values, np.ndarray) else self.values.take(indices)
        return Lists(values=values, offsets=offsets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """Rows of different lengths, concatenated: `values` `[steps of all rows, …]`, `offsets` int64
    `[rows + 1]`. `on_host`: the offsets in the host's memory, where the others are on a device: sizes are then known
    without waiting for it."""

    values: Tensor
    offsets: Tensor
    on_host: Tensor | None = None

    @property
    def host_offsets(self) -> Tensor:
        """The offsets in the host's memory, if they are known there."""
        return self.offsets if self.on_host is None else self.on_host

    def lengths(self, rows: Tensor | None = None) -> Tensor:
        """int64 `[rows]`, of all rows or of those at some indices."""
        return _lengths(self.offsets, rows)

    def host_lengths(self, rows: Tensor | None = None) -> Tensor:
        """The lengths in the host's memory, for indices there."""
        return _lengths(self.host_offsets, rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(rows,)`."""
        return (len(self.offsets) - 1,)

    @property
    def nbytes(self) -> int:
        """The bytes of both tensors."""
        return self.values.nbytes + self.offsets.nbytes

    def map(self, function: Callable[[Tensor], Tensor]) -> Sequences:
        """Apply a function to both tensors, for example one that moves them to a device."""
        return Sequences(
            values=function(self.values), offsets=function(self.offsets), on_host=self.host_offsets.detach()
        )

    def take(self, rows: Tensor, on_host: Tensor | None = None) -> Sequences:
        """The rows at int64 indices, in any order.

        Args:
            on_host: the same indices in the host's memory, where `rows` are on a device.
        """
        import torch  # imported by now: planning uses records without it

        lengths, known = self.lengths(rows), None
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        if self.on_host is not None:
            taken = self.host_lengths(rows.cpu() if on_host is None else on_host)
            known = torch.cat([taken.new_zeros(1), taken.cumsum(0)])
        total = int((offsets if known is None else known)[-1])
        indices = torch.arange(total, device=lengths.device)
        indices += torch.repeat_interleave(self.offsets[:-1][rows] - offsets[:-1], lengths, output_size=total)
        return Sequences(values=self.values[indices], offsets=offsets, on_host=known)

    def __getitem__(self, rows: slice | Tensor) -> Sequences:
        """Some rows: a slice, or int64 indices in any order."""
        if not isinstance(rows, slice):
            return self.take(rows)
        first, last, _ = rows.indices(len(self.offsets) - 1)
        kept = slice(first, max(first, last) + 1)
        known, offsets = self.host_offsets[kept], self.offsets[kept]
        return Sequences(
            values=self.values[int(known[0]) : int(known[-1])],
            offsets=offsets - offsets[0],
            on_host=None if self.on_host is None else known - known[0],
        )


def _lengths(offsets: Tensor, rows: Tensor | None) -> Tensor:
    return offsets.diff() if rows is None else offsets[1:][rows] - offsets[:-1][rows]


def dense(given: Mapping[str, Tensor | Sequences]) -> dict[str, Tensor]:
    """The inputs as tensors, if none of them is a sequence."""
    found = {name: value for name, value in given.items() if not isinstance(value, Sequences)}
    assert len(found) == len(given), "sequences are refused earlier"
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Tensors being copied to a device, and on a GPU the tensors in the host's memory and the events around the copy;
    without those, a GPU has no memory for the tensors, and they were not copied."""

    tensors: Inputs
    source: Inputs | None = None
    events: tuple[Event, Event] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureBatch:
    """The model's inputs with the batch they came from. `sent`: the inputs being copied to the device."""

    batch: pa.RecordBatch
    inputs: Inputs
    kept: NDArray[np.int64] | None
    rejects: tuple[Reject, ...] = ()
    sent: Sent | None = None

    @property
    def num_kept(self) -> int:
        """How many rows go on to the next stage."""
        return self.batch.num_rows if self.kept is None else len(self.kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCounts:
    """How many scored rows are special. `out_of_bounds`: outside the bounds that the bundle declares;
    `above_threshold`: flagged by a regression with a threshold."""

    out_of_bounds: int = 0
    above_threshold: int = 0

    def __add__(self, other: RowCounts) -> RowCounts:
        """The sums."""
        return RowCounts(
            out_of_bounds=self.out_of_bounds + other.out_of_bounds,
            above_threshold=self.above_threshold + other.above_threshold,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredBatch:
    """`rows`: keys and predictions, in input order. `rejects`: keys, features as read, and as the last column the
    struct `reject` {source, row_number, stage, column, reason}. Together they contain every row that was read.
    `counts`: of `rows`. `retried`: the model's errors for blocks that failed as a whole and were scored in smaller
    blocks."""

    rows: pa.RecordBatch
    rejects: pa.RecordBatch
    counts: RowCounts = field(default_factory=RowCounts)
    retried: tuple[str, ...] = ()
