"""What every task offers: its columns, options and decoding. Planning uses tasks, so nothing here imports torch at its
top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ...schemas.heads import Head, Label
from ..errors import BundleError
from ..records import Lists, Sequences

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor

    from ...schemas.bundle import Ensemble
    from ..options import ColumnOptions

PREDICTION = "prediction"
STD = "prediction_std"

HeadT = TypeVar("HeadT", bound=Head)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadColumns:
    """The decoded output of a head. `finite`, `beyond`: bool `[rows]`: which rows are finite, and which lie beyond the
    bounds that were declared; None where all are finite, and where none are beyond."""

    columns: list[pa.Array]
    finite: Tensor | None
    beyond: Tensor | None = None


class Task(ABC, Generic[HeadT]):
    """The task of one head of a bundle, which `head` describes. `tasks.task_of` makes it."""

    #: As bundles name the task.
    name: ClassVar[str]
    #: The model gives `[rows, steps, width]`, and raw outputs are `Sequences` of the steps that are there.
    per_step: ClassVar[bool] = False
    #: The model runs once a token, and raw outputs are `Sequences` of what was generated.
    generates: ClassVar[bool] = False
    #: An ensemble can write the standard deviation over its members.
    has_std: ClassVar[bool] = True
    #: Any number of the labels may be right, each by itself, so that their probabilities do not sum to 1.
    independent_labels: ClassVar[bool] = False
    #: The methods by which probabilities can be calibrated, the usual one first.
    calibrations: ClassVar[tuple[str, ...]] = ()

    def __init__(self, head: HeadT) -> None:
        self.head = head

    # What it is.

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers of a member's raw output, for a row, or for a step where there are steps."""

    @property
    def labels(self) -> list[Label]:
        """In the order of the model's outputs; empty where it predicts numbers."""
        return []

    @property
    def targets(self) -> list[str]:
        """The names of predicted numbers, where there are several."""
        return []

    @property
    def quantiles(self) -> list[float]:
        """Of each column of predictions, in order; empty where none are predicted."""
        return []

    @property
    def outputs(self) -> str | None:
        """`logits`, `probabilities` or `log_probabilities`; None where it predicts numbers."""
        return None

    @property
    def num_label_columns(self) -> int:
        """How many of its columns, the first, hold predicted labels, one for each row."""
        return 0

    def describe(self) -> Iterator[str]:
        """What `scoreline check` says of it beside its labels."""
        if self.head.bounds is not None:
            yield f"out of bounds: {'rejected' if self.head.bounds.reject else 'counted'}"

    # Known before torch is imported: columns and options.

    @abstractmethod
    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:
        """The columns it writes, in order, without the head's name.

        Args:
            std: whether the standard deviation over an ensemble's members is written.
        """

    @property
    def most_top_k(self) -> int | None:
        """The largest `--top-k`; None where the option does not apply."""
        return None

    @property
    def threshold_labels(self) -> list[str] | None:
        """The labels with a threshold each; empty where one is for the whole head, None where there are none."""
        return None

    def with_threshold(self, value: float, index: int | None = None) -> HeadT:  # noqa: ARG002 - of tasks that have some
        """The head with another threshold, for the label at `index` or for all."""
        return self.head

    def explain_targets(self) -> Iterator[tuple[tuple[str, ...], int | None]]:
        """The names that `--explain-target` may give, and the class or output of each; without a name where none is
        needed, without an index where it is the predicted class of each row."""
        return iter(())

    # Raw outputs: a tensor `[rows, members × width]`, or `Sequences` of such.

    def no_rows(self, num_members: int) -> Tensor | Sequences:
        """The raw output of no rows."""
        import torch  # by now it is imported: planning does without

        none = torch.empty((0, self.width * num_members))
        if not (self.per_step or self.generates):
            return none
        return Sequences(values=none, offsets=torch.zeros(1, dtype=torch.int64))

    def values_per_row(self, max_steps: int) -> int:
        """Numbers of a member's raw output for a row, at most.

        Args:
            max_steps: of the bundle's sequences, 1 without any.
        """
        return self.width * (max_steps if self.per_step else 1)

    def check_shape(self, raw: Tensor, rows: int) -> None:
        """Refuse a raw output that cannot be this head's.

        Raises:
            BundleError: names the shape, and what the task and its labels take.
        """
        width, shape = self.width, tuple(raw.shape)
        fits: set[tuple[int, ...]] = {(rows, width), *self.other_shapes(rows)}
        if shape not in fits:
            asked = " or ".join(str(("rows", *fit[1:])).replace("'", "") for fit in sorted(fits, key=len))
            raise BundleError(
                f"the model's output is {shape} for {rows} rows, and {self.name} with {width} labels takes"
                f" {asked}; give as many labels= (of a regression also quantiles= and spread=) as the model has outputs"
            )

    def other_shapes(self, rows: int) -> set[tuple[int, ...]]:
        """The shapes of one member's raw output beside `[rows, width]`."""
        return {(rows,)} if self.width == 1 else set()

    @abstractmethod
    def decode(
        self, raw: Any, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """Columns as `fields` names them, and which rows are finite and within bounds.

        Args:
            raw: `[rows, members × width]`, one member's outputs behind the other's; `Sequences` of such where there are
                steps.
        """

    def raw_array(self, raw: Tensor | Sequences) -> np.ndarray | Lists:
        """A raw output as golden rows keep it: float32 `[rows, members × width]`, or lists of each step's."""
        if isinstance(raw, Sequences):
            return Lists(values=raw.values.float().numpy(), offsets=raw.offsets.numpy())
        return raw.float().cpu().numpy()

    # Calibration, of tasks that have `calibrations`.

    def logits(self, raw: Tensor, ensemble: Ensemble | None = None, num_members: int = 1) -> Tensor:
        """What calibration is applied to, float32 `[rows, labels]`, or `[rows, 1]` of two labels.

        Args:
            raw: `[rows, members × width]`.
        """
        raise NotImplementedError(f"{self.name} is not calibrated")

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """float64 of the same shape, by the head's calibration, if it has one."""
        raise NotImplementedError(f"{self.name} is not calibrated")

    # Explaining, of tasks that have `explain_targets`.

    def score(self, raw: Tensor, indices: Tensor) -> Tensor:
        """The differentiable score of a class or output of each row, `[rows]`.

        Args:
            raw: one member's, `[rows, width]`.
            indices: of the class or output, int64 `[rows]`.
        """
        raise NotImplementedError(f"{self.name} is not explained")

    # Saving.

    @abstractmethod
    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The columns that `expected=` means when it is an array.

        Args:
            values: `[rows]` or `[rows, columns]`.
            names: the task's columns.

        Raises:
            BundleError: an array that cannot be its predictions.
        """

    def in_own_unit(
        self,
        raw: Tensor | Sequences,  # noqa: ARG002 - of tasks that have a unit
        num_members: int,  # noqa: ARG002
        to_unit: Callable[[np.ndarray], np.ndarray],  # noqa: ARG002
    ) -> list[np.ndarray]:
        """The first columns of predictions by the user's own inverse of the target's scaler; none where no scaler was
        saved."""
        return []


def members_apart(raw: Tensor, ensemble: Ensemble | None, num_members: int) -> Tensor:
    """`[rows, members × width]` → `[rows, members, width]` of an ensemble."""
    return raw if ensemble is None else raw.reshape(raw.shape[0], num_members, raw.shape[1] // num_members)


def some_numbers(numbers: Sequence[float]) -> str:
    """A few of them for a line of text, and how many more there are."""
    shown = ", ".join(f"'{number:g}'" for number in numbers[:6])
    return shown + (f" and {len(numbers) - 6} more" if len(numbers) > 6 else "")
