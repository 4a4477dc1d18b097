"""The interface of tasks: columns, options and decoding. Planning uses tasks, so this module does not import torch at
the top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ...schemas.heads import Head, Label
from ..errors import BundleError, counted, listed, shape_text
from ..records import Lists, Sequences

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor

    from ...schemas.bundle import Ensemble
    from ..options import ColumnOptions

PREDICTION = "prediction"
ABOVE_THRESHOLD = "above_threshold"
STD = "prediction_std"

HeadT = TypeVar("HeadT", bound=Head)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadColumns:
    """The decoded output of a head. `finite`: bool `[rows]`, which rows are finite, None if all are. `out_of_bounds`:
    bool `[rows]`, which rows are outside the declared bounds, None if none are. `above_threshold`: bool `[rows]`, which
    rows a regression flags, None if it has no threshold."""

    columns: list[pa.Array]
    finite: Tensor | None
    out_of_bounds: Tensor | None = None
    above_threshold: Tensor | None = None


class Task(ABC, Generic[HeadT]):
    """The task of one head of a bundle, described by `head`. Created by `tasks.task_of`."""

    #: The name of the task in bundles.
    name: ClassVar[str]
    #: Whether the model returns `[rows, steps, width]`; raw outputs are `Sequences` without padding.
    per_step: ClassVar[bool] = False
    #: Whether the model runs once per token; raw outputs are `Sequences` of the generated tokens.
    generates: ClassVar[bool] = False
    #: Whether an ensemble can write the standard deviation over its members.
    has_std: ClassVar[bool] = True
    #: Whether labels are independent, so that their probabilities need not sum to 1.
    independent_labels: ClassVar[bool] = False
    #: Whether each output is a number in a unit of its own.
    outputs_have_units: ClassVar[bool] = False
    #: What to change where the model returns another number of outputs, for a message.
    width_hint: ClassVar[str] = "save a model with as many outputs"
    #: The supported methods of calibration, the default first.
    calibrations: ClassVar[tuple[str, ...]] = ()

    def __init__(self, head: HeadT) -> None:
        self.head = head

    # Properties of the head.

    @property
    @abstractmethod
    def width(self) -> int:
        """The numbers in a member's raw output per row, or per step if there are steps."""

    @property
    def labels(self) -> list[Label]:
        """The labels, in the order of the model's outputs; empty for predicted numbers."""
        return []

    @property
    def targets(self) -> list[str]:
        """The names of the predicted numbers, if there are several."""
        return []

    @property
    def quantiles(self) -> list[float]:
        """The quantile of each column of predictions, in order; empty if none are predicted."""
        return []

    @property
    def outputs(self) -> str | None:
        """`logits`, `probabilities` or `log_probabilities`; None for predicted numbers."""
        return None

    @property
    def num_label_columns(self) -> int:
        """How many of the first columns are predicted labels, one per row."""
        return 0

    @property
    def horizons(self) -> list[str]:
        """The names of the time steps of a forecast, if there are any."""
        return []

    @property
    def threshold(self) -> float | None:
        """The number above which a row is flagged; None if rows are not flagged."""
        return None

    def describe(self) -> Iterator[str]:
        """Descriptions for `scoreline check`, in addition to the labels."""
        if self.head.bounds is not None:
            yield f"out of bounds: {'rejected' if self.head.bounds.reject else 'counted'}"

    # Columns and options, without torch.

    @abstractmethod
    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:
        """The columns that the task writes, in order, without the name of the head.

        Args:
            std: whether the standard deviation over an ensemble's members is written.
        """

    @property
    def most_top_k(self) -> int | None:
        """The largest `--top-k`; None if the option does not apply."""
        return None

    @property
    def threshold_labels(self) -> list[str] | None:
        """The labels with their own thresholds; empty if there is one for the whole head, None if there are none."""
        return None

    def with_threshold(self, value: float, index: int | None = None) -> HeadT:  # noqa: ARG002 - for subclasses
        """The head with another threshold, for the label at `index` or for all."""
        return self.head

    def explain_targets(self) -> Iterator[tuple[tuple[str, ...], int | None]]:
        """The possible values of `--explain-target`, each with the index of a class or output. The name is empty if
        none is needed; the index is None for the predicted class of each row."""
        return iter(())

    # Raw outputs: a tensor `[rows, members × width]`, or `Sequences` of such tensors.

    def no_rows(self, num_members: int) -> Tensor | Sequences:
        """The raw output for zero rows."""
        import torch  # imported by now; planning does not need it

        none = torch.empty((0, self.width * num_members))
        if not (self.per_step or self.generates):
            return none
        return Sequences(values=none, offsets=torch.zeros(1, dtype=torch.int64))

    def values_per_row(self, max_steps: int) -> int:
        """The largest number of values of a member's raw output per row.

        Args:
            max_steps: the longest sequence of the bundle, 1 if it has none.
        """
        return self.width * (max_steps if self.per_step else 1)

    def check_shape(self, raw: Tensor, rows: int) -> None:
        """Check that a raw output has a shape of this head.

        Raises:
            BundleError: names the shape, and the shapes that the task and its labels allow.
        """
        shape = tuple(raw.shape)
        fits: set[tuple[int, ...]] = {(rows, self.width), *self.other_shapes(rows)}
        if shape not in fits:
            allowed = " or ".join(shape_text(("rows", *fit[1:])) for fit in sorted(fits))
            raise BundleError(
                f"the model's output has the shape {shape_text(shape)} for {counted(rows, 'row')}, but {self.name} with"
                f" {self.counted_outputs} takes {allowed}; {self.width_hint}"
            )

    @property
    def counted_outputs(self) -> str:
        """What determines the width, for a message: `2 labels`."""
        return counted(self.width, "output")

    def other_shapes(self, rows: int) -> set[tuple[int, ...]]:
        """Other allowed shapes of one member's raw output, besides `[rows, width]`; flattened, they are the same."""
        return {(rows,)} if self.width == 1 else set()

    @abstractmethod
    def decode(
        self, raw: Any, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """The columns listed by `fields`, and which rows are finite and within bounds.

        Args:
            raw: `[rows, members × width]`, the concatenated outputs of the members; `Sequences` of such rows if there
                are steps.
        """

    def raw_array(self, raw: Tensor | Sequences) -> np.ndarray | Lists:
        """A raw output as stored in golden rows: float32 `[rows, members × width]`, or lists with the numbers of
        steps."""
        if isinstance(raw, Sequences):
            return Lists(values=raw.values.float().numpy(), offsets=raw.offsets.numpy())
        return raw.float().cpu().numpy()

    # Calibration, for tasks with `calibrations`.

    def logits(self, raw: Tensor, ensemble: Ensemble | None = None, num_members: int = 1) -> Tensor:
        """The inputs of calibration, float32 `[rows, labels]`, or `[rows, 1]` for two labels.

        Args:
            raw: `[rows, members × width]`.
        """
        raise NotImplementedError(f"task {self.name} cannot be calibrated")

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """The probabilities after the head's calibration, if any, float64 of the same shape."""
        raise NotImplementedError(f"task {self.name} cannot be calibrated")

    # Attributions, for tasks with `explain_targets`.

    def score(self, raw: Tensor, indices: Tensor) -> Tensor:
        """The differentiable score of a class or output per row, `[rows]`.

        Args:
            raw: the raw output of one member, `[rows, width]`.
            indices: the class or output of each row, int64 `[rows]`.
        """
        raise NotImplementedError(f"task {self.name} has no attributions")

    # Saving.

    @abstractmethod
    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The columns that an array passed as `expected=` contains.

        Args:
            values: `[rows]` or `[rows, columns]`.
            names: the columns of the task.

        Raises:
            BundleError: the array cannot be predictions of the task.
        """

    def in_own_unit(
        self,
        raw: Tensor | Sequences,  # noqa: ARG002 - for subclasses
        num_members: int,  # noqa: ARG002
        to_unit: Callable[[np.ndarray], np.ndarray],  # noqa: ARG002
    ) -> list[np.ndarray]:
        """The first columns of predictions, computed with the user's own inverse of the target's scaler; empty if no
        scaler was saved."""
        return []


def split_members(raw: Tensor, ensemble: Ensemble | None, num_members: int) -> Tensor:
    """`[rows, members × width]` → `[rows, members, width]` for an ensemble."""
    return raw if ensemble is None else raw.reshape(raw.shape[0], num_members, raw.shape[1] // num_members)


def some_numbers(numbers: Sequence[float]) -> str:
    """The first few numbers for a line of text, and how many more there are."""
    return listed([f"{number:g}" for number in numbers])
