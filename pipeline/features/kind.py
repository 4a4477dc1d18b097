"""What every kind of input offers: its sizes, and its tensor from prepared columns. Planning uses kinds, so nothing
here imports torch at its top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from ...schemas.inputs import Input
from ..records import Sequences

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from torch import Tensor

#: Prepared columns by name: float64 `[rows]`, lists, images, or an Arrow array.
Columns: TypeAlias = Mapping[str, Any]
#: A table as `[columns, rows]`, images `[rows, …]`, or sequences.
Filled: TypeAlias = "np.ndarray | Sequences"
#: Rows that have no value, the column and the reason.
Unfit: TypeAlias = "list[tuple[NDArray[np.int64], str, str]]"
#: Why cells could not be opened, by their rows.
Unopened = dict[int, str]
#: The builtin `map`, or that of a thread pool.
Mapper: TypeAlias = Callable[[Callable[[int], Unopened], Iterable[int]], Iterable[Unopened]]

InputT = TypeVar("InputT", bound=Input)


class InputKind(ABC, Generic[InputT]):
    """The kind of one input of a bundle, which `entry` describes. `kinds.kind_of` makes it."""

    #: As bundles name the kind.
    name: ClassVar[str]
    #: Each column is a number of its own, so that rows can be compared and features explained one by one.
    tabular: ClassVar[bool] = False
    #: Rows have steps, as many as each has: they travel as `Sequences`, and are padded where they meet.
    has_steps: ClassVar[bool] = False
    #: Cells are bytes or paths, which `open` decodes before any step.
    opens_files: ClassVar[bool] = False

    def __init__(self, entry: InputT) -> None:
        self.entry = entry

    @property
    @abstractmethod
    def values_per_row(self) -> int:
        """Numbers of a row in flight, at most: those of its tensor, and what padding makes of them."""

    @property
    @abstractmethod
    def bytes_per_row(self) -> int:
        """What a row takes on its way to the tensor, at most."""

    @property
    def contiguous(self) -> bool:
        """Whether the model needs the rows one behind the other in memory."""
        return False

    def as_contiguous(self) -> InputT:
        """The input with its rows one behind the other in memory, where that makes a difference."""
        return self.entry

    @property
    def masked(self) -> bool:
        """Whether an argument behind it says which steps are padding."""
        return False

    @abstractmethod
    def describe(self) -> str:
        """What the model takes, for `scoreline check`."""

    def require(self) -> None:
        """Raise BundleError where a library that it needs is not installed."""

    def open(self, column: pa.Array, *, folder: str, mapper: Mapper = map) -> tuple[NDArray[Any], Unopened]:
        """Decode every cell, of a kind that `opens_files`.

        Args:
            column: of the input's one feature, without nulls.
            folder: where relative paths start.
            mapper: runs the decoding, possibly in threads.

        Returns:
            What takes the column's place, and the rows that could not be opened, with their reasons.
        """
        raise NotImplementedError(f"input {self.entry.name!r} has no files")

    @abstractmethod
    def fill(self, columns: Columns, rows: int, *, pin: bool) -> tuple[Filled, Unfit]:
        """The values of all rows, and those that do not fit, with the column and the reason.

        Args:
            pin: fill memory that a GPU copies from by itself.
        """

    @abstractmethod
    def keep(self, filled: Filled, fits: NDArray[np.bool_]) -> Filled:
        """Only the rows that fit."""

    @abstractmethod
    def tensor(self, filled: Filled) -> Tensor | Sequences:
        """As the model takes it, or `Sequences` that are yet to be padded."""

    @abstractmethod
    def example(self, rows: int, steps: int, device: Any) -> dict[str, Tensor]:
        """Zeros as the model takes them, by argument.

        Args:
            steps: of a sequence, unless it may have fewer.
        """
