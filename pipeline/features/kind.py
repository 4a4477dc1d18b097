"""The interface of kinds of input: their sizes, and their tensors from prepared columns. Planning uses kinds, so this
module does not import torch at the top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from ...schemas.inputs import Input
from ..records import Sequences
from .columns import Columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from torch import Tensor

    from .image_files import Fetch

#: A table as `[columns, rows]`, images `[rows, …]`, or sequences.
Filled: TypeAlias = "np.ndarray | Sequences"
#: Rows that have no value, with the column and the reason.
Unfit: TypeAlias = "list[tuple[NDArray[np.int64], str, str]]"
#: Why cells could not be opened, by row.
Unopened = dict[int, str]
#: The builtin `map`, or the `map` of a thread pool.
Mapper: TypeAlias = Callable[[Callable[[int], Unopened], Iterable[int]], Iterable[Unopened]]

InputT = TypeVar("InputT", bound=Input)


class InputKind(ABC, Generic[InputT]):
    """The kind of one input of a bundle, described by `entry`. Created by `kinds.kind_of`."""

    #: The name of the kind in bundles.
    name: ClassVar[str]
    #: Whether each column is one number, so that rows can be compared and single features explained.
    tabular: ClassVar[bool] = False
    #: Whether rows have different numbers of steps: they are passed on as `Sequences`, and padded for the model.
    has_steps: ClassVar[bool] = False
    #: Whether cells are bytes or paths, which `open` decodes before any step.
    opens_files: ClassVar[bool] = False

    def __init__(self, entry: InputT) -> None:
        self.entry = entry

    @property
    @abstractmethod
    def values_per_row(self) -> int:
        """The largest number of values of a row in flight, including padding."""

    @property
    @abstractmethod
    def bytes_per_row(self) -> int:
        """The largest number of bytes of a row while its tensor is filled."""

    @property
    def contiguous(self) -> bool:
        """Whether the model needs the rows contiguous in memory."""
        return False

    def as_contiguous(self) -> InputT:
        """The input with contiguous rows, if that makes a difference for the kind."""
        return self.entry

    @property
    def masked(self) -> bool:
        """Whether the model takes another argument after the input that marks padding."""
        return False

    @abstractmethod
    def describe(self) -> str:
        """A description of what the model takes, for `scoreline check`."""

    def require(self) -> None:
        """Raise BundleError if a required library is not installed."""

    def open(
        self, column: pa.Array, *, folder: str, mapper: Mapper = map, pin: bool = False, fetch: Fetch | None = None
    ) -> tuple[NDArray[Any], Unopened]:
        """Decode every cell. Only for kinds with `opens_files`.

        Args:
            column: the only feature of the input, without nulls.
            folder: where relative paths start.
            mapper: runs the decoding, possibly in threads.
            pin: decode into pinned memory, in the form that is sent to a GPU, which completes it (`on_device`).
            fetch: reads objects; without it, URIs are rejected.

        Returns:
            The decoded column, and the rows that could not be opened, with the reasons.
        """
        raise NotImplementedError(f"input {self.entry.name!r} has no files")

    @abstractmethod
    def fill(self, columns: Columns, rows: int, *, pin: bool) -> tuple[Filled, Unfit]:
        """The values of all rows, and those that do not fit, with the column and the reason.

        Args:
            pin: fill pinned memory, from which a GPU can copy asynchronously.
        """

    @abstractmethod
    def keep(self, filled: Filled, fits: NDArray[np.bool_], *, pin: bool) -> Filled:
        """Only the rows that fit, in pinned memory if `pin` is set."""

    @abstractmethod
    def tensor(self, filled: Filled) -> Tensor | Sequences:
        """The tensor that the model takes, or `Sequences` that will be padded."""

    def on_device(self, sent: Tensor, *, channels_last: bool) -> Tensor:  # noqa: ARG002 - only images have channels
        """What the model takes, from rows that were sent to a GPU as `fill` made them. Runs on that GPU."""
        return sent

    @abstractmethod
    def example(self, rows: int, steps: int, device: Any) -> dict[str, Tensor]:
        """Zeros in the shapes that the model takes, by argument.

        Args:
            steps: the length of sequences, or their maximum if that is smaller.
        """
