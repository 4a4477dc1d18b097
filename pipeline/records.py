"""The records that travel between stages: frozen, and nothing else. Knows nothing of what is done to them."""

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

#: The model's inputs by name: a row each along the first dimension.
Inputs: TypeAlias = "Mapping[str, Tensor | Sequences]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """One input file. `name` is its path below the input's root, with `/`; `hive` the `key=value` folders in
    that path, outermost first (a value of None is Hive's null). Size, mtime and inode are its identity."""

    path: str
    name: str
    format: str
    size: int
    mtime_ns: int
    inode: int = 0
    hive: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRows:
    """Rows as a reader found them, in file order. `unreadable`: the places of those that no sense could be made of,
    with the reason; all of their cells are null."""

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
    """The rows of one forward pass as a reader found them, all of one split. `first_row`: the number of the first in
    its partition."""

    split: int
    first_row: int
    batch: pa.RecordBatch
    unreadable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """Rows that could not be scored, for one reason. `positions`: int64 `[n]`, places in the batch as read."""

    positions: NDArray[np.int64]
    stage: str
    column: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedBatch:
    """Feature columns by name: float64 `[kept]`, Arrow strings, lists, or images: bytes or paths until they
    are decoded to float32 `[kept, channels, height, width]`; `kept`: int64 places in `batch`, None where all
    are."""

    batch: pa.RecordBatch
    columns: Mapping[str, NDArray[np.float64] | pa.Array | Lists | NDArray[np.float32]]
    kept: NDArray[np.int64] | None
    rejects: tuple[Reject, ...] = ()

    @property
    def num_kept(self) -> int:
        """How many rows go on to the next stage."""
        return self.batch.num_rows if self.kept is None else len(self.kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """A column of lists: `values` of all rows one behind the other, float64 or Arrow strings, `offsets` int64
    `[rows + 1]`."""

    values: NDArray[np.float64] | pa.Array
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def only(self, rows: NDArray[np.int64]) -> Lists:
        """Some rows, at places in their order."""
        import numpy as np

        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        values = self.values[places] if isinstance(self.values, np.ndarray) else self.values.take(places)
        return Lists(values=values, offsets=offsets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """Rows of different lengths, one behind the other: `values` `[steps of all rows, …]`, `offsets` int64
    `[rows + 1]`."""

    values: Tensor
    offsets: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, alone."""
        return (len(self.offsets) - 1,)

    @property
    def nbytes(self) -> int:
        """Of both tensors."""
        return self.values.nbytes + self.offsets.nbytes

    def map(self, function: Callable[[Tensor], Tensor]) -> Sequences:
        """The same, of tensors that a function has made of them."""
        return Sequences(values=function(self.values), offsets=function(self.offsets))

    def __getitem__(self, rows: slice | Tensor) -> Sequences:
        """Some rows: those of a slice, or at places, int64, in their order."""
        import torch  # which is here by now: records are known before it is imported

        start, stop = self.offsets[:-1], self.offsets[1:]
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(start))
            offsets = self.offsets[first : max(first, last) + 1]
            return Sequences(values=self.values[int(offsets[0]) : int(offsets[-1])], offsets=offsets - offsets[0])
        lengths = (stop - start)[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        places = torch.arange(int(offsets[-1]), device=lengths.device)
        places += torch.repeat_interleave(start[rows] - offsets[:-1], lengths)
        return Sequences(values=self.values[places], offsets=offsets)


def dense(given: Mapping[str, Tensor | Sequences]) -> dict[str, Tensor]:
    """The same, where none of them is a sequence."""
    found = {name: value for name, value in given.items() if not isinstance(value, Sequences)}
    assert len(found) == len(given), "sequences are refused before they come here"
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Tensors on their way to a device, and on a GPU the events around their copy."""

    tensors: Inputs
    events: tuple[Event, Event] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureBatch:
    """The model's inputs, a row each, with the batch they came from. `sent`: the same on their way to the device."""

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
class ScoredBatch:
    """`rows`: keys and predictions, in input order. `rejects`: keys, features as they came, and as the last column the
    struct `reject` {source, row_number, stage, column, reason}. Together they are every row that was read.
    `out_of_bounds`: how many of `rows` lie beyond the bounds that the bundle declares. `retried`: what the model said
    of rows that it failed on together, and not alone."""

    rows: pa.RecordBatch
    rejects: pa.RecordBatch
    out_of_bounds: int = 0
    retried: tuple[str, ...] = ()
