"""Regression: `[rows, targets]` → one float64 column per target, quantile and spread, in the unit of the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...schemas.heads import RegressionHead, Rescale
from ..arrays import to_arrow, to_numpy
from ..errors import BundleError, counted
from ..options import ColumnOptions
from ..records import Sequences
from .probabilities import finite_rows, float_column
from .task import ABOVE_THRESHOLD, PREDICTION, STD, HeadColumns, Task, some_numbers, split_members

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble

#: The kinds of `Rescale` that are torch functions, by name.
FUNCTIONS = ("exp", "expm1", "exp2", "square", "sqrt", "log", "log1p")


class RegressionTask(Task[RegressionHead]):
    """One or more numbers. The prediction of an ensemble is the mean of its members."""

    name = "regression"
    outputs_have_units = True
    width_hint = (
        "name each target in targets and each step of a forecast in horizons, or declare quantiles or a spread if the"
        " model returns them"
    )

    @property
    def num_targets(self) -> int:
        """The number of targets, at least 1."""
        return max(1, len(self.head.targets))

    @property
    def width(self) -> int:
        """horizons × quantiles × targets, or 2 × targets with a spread."""
        return 2 * self.num_targets if self.head.spread is not None else len(self.head.names())

    @property
    def counted_outputs(self) -> str:
        """The numbers of targets, quantiles and horizons, and whether there is a spread."""
        targets = counted(self.num_targets, "target")
        if self.head.horizons:
            targets = f"{counted(len(self.head.horizons), 'horizon')} of {targets}"
        if self.head.quantiles:
            return f"{counted(len(self.head.quantiles), 'quantile')} of {targets}"
        return targets if self.head.spread is None else f"{targets} and a spread"

    @property
    def targets(self) -> list[str]:
        """The names of the targets, at each horizon."""
        names = self.head.model_copy(update={"quantiles": []}).names()
        return [] if names == [""] else names

    @property
    def quantiles(self) -> list[float]:
        """The quantile of each column."""
        by_horizon = [quantile for quantile in self.head.quantiles for _ in range(self.num_targets)]
        return by_horizon * max(1, len(self.head.horizons))

    @property
    def horizons(self) -> list[str]:
        """The names of the time steps."""
        return self.head.horizons

    @property
    def threshold(self) -> float | None:
        """The number above which a row is flagged."""
        return self.head.threshold

    @property
    def threshold_labels(self) -> list[str] | None:
        """One threshold, of the only prediction, if there is one."""
        return None if self.head.threshold is None else []

    def with_threshold(self, value: float, index: int | None = None) -> RegressionHead:  # noqa: ARG002 - there is only one
        """The head with another threshold."""
        return self.head.model_copy(update={"threshold": value})

    def other_shapes(self, rows: int) -> set[tuple[int, ...]]:
        """`[rows]` for one number, and `[rows, horizons, quantiles × targets]` for forecasts."""
        shapes = super().other_shapes(rows)
        if not self.head.horizons:
            return shapes
        steps = len(self.head.horizons)
        return shapes | {(rows, steps, self.width // steps)}

    def describe(self) -> Iterator[str]:
        """The quantiles, the kind of spread, and the threshold."""
        if self.head.quantiles:
            yield f"quantiles {some_numbers(self.head.quantiles)}"
        if self.head.spread is not None:
            yield f"with its spread, from the {self.head.spread.replace('_', ' ')}"
        if self.head.threshold is not None:
            yield f"flagged above {self.head.threshold:g}"
        yield from super().describe()

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:  # noqa: ARG002 - no option applies
        """`prediction_<target>_<horizon>_<quantile>` for each, then `prediction_std_…` for each, then the flag
        `above_threshold`."""
        names = [f"{PREDICTION}_{name}" if name else PREDICTION for name in self.head.names()]
        stds = [f"{STD}{name.removeprefix(PREDICTION)}" for name in names]
        both = std or self.head.spread is not None
        flag = [] if self.head.threshold is None else [pa.field(ABOVE_THRESHOLD, pa.bool_())]
        return [*(pa.field(name, pa.float64()) for name in (*names, *(stds if both else ()))), *flag]

    def explain_targets(self) -> Iterator[tuple[tuple[str, ...], int | None]]:
        """Each predicted number."""
        yield from (((name,) if name else (), index) for index, name in enumerate(self.head.names()))

    def score(self, raw: Tensor, indices: Tensor) -> Tensor:
        """The prediction in the unit of the target, float64."""
        values = raw.double().reshape(len(raw), raw.shape[1] // self.num_targets, self.num_targets)
        for step in self.head.rescale:
            values = rescaled(step, values)
        return values.flatten(1).gather(1, indices[:, None])[:, 0]

    def decode(
        self,
        raw: Tensor,
        options: ColumnOptions,  # noqa: ARG002 - no option applies
        ensemble: Ensemble | None = None,
        num_members: int = 1,
    ) -> HeadColumns:
        """The columns listed by `fields`."""
        head = self.head
        raw = split_members(raw, ensemble, num_members)
        kinds = raw.shape[-1] // self.num_targets
        values = raw.double().reshape(*raw.shape[:-1], kinds, self.num_targets)  # [rows, (members,) kinds, targets]
        if head.spread is not None:
            return _flagged(head, _with_spread(head, values, ensemble))
        for step in head.rescale:
            values = rescaled(step, values)
        spread = []
        if ensemble is not None:
            std = values.std(dim=1, correction=0).flatten(1)
            spread = [float_column(std[:, at]) for at in range(std.shape[1])] if ensemble.std else []
            values = values.mean(dim=1)
        columns = values.flatten(1).T.contiguous()
        made = HeadColumns(
            columns=[*(float_column(column) for column in columns), *spread],
            finite=finite_rows(columns),
            out_of_bounds=_out_of_bounds(head, values),
        )
        return _flagged(head, made)

    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """Numbers `[rows]` or `[rows, columns]`."""
        names = [name for name in names if not name.startswith(STD) and name != ABOVE_THRESHOLD]
        columns = values.reshape(len(values), -1).T
        if len(columns) != len(names):
            raise BundleError(
                f"expected has {counted(len(columns), 'column')}, but the model has {counted(len(names), 'output')}"
            )
        return {name: column.astype(np.float64) for name, column in zip(names, columns, strict=True)}

    def in_own_unit(
        self, raw: Tensor | Sequences, num_members: int, to_unit: Callable[[np.ndarray], np.ndarray]
    ) -> list[np.ndarray]:
        """The predictions or means, without their spread."""
        if not self.head.rescale:
            return []
        assert not isinstance(raw, Sequences), "regressions have one prediction per row"
        width = self.width // (2 if self.head.spread is not None else 1)
        taken = raw.double().numpy().reshape(len(raw) * num_members, self.width)[:, :width]
        unit = np.asarray(to_unit(taken.reshape(-1, self.num_targets))).reshape(len(raw), num_members, width)
        return [np.ascontiguousarray(column) for column in unit.mean(axis=1).T]


def _with_spread(head: RegressionHead, values: Tensor, ensemble: Ensemble | None) -> HeadColumns:
    """Means, then standard deviations, in the unit of the target. For an ensemble, those of the uniform mixture of its
    members (Lakshminarayanan et al. 2017)."""
    import torch  # imported by now; planning does not need it

    mean, spread = values[..., 0, :], values[..., 1, :]
    match head.spread:
        case "log_variance":
            std = (0.5 * spread).exp()
        case "variance":
            std = spread.sqrt()
        case _:
            std = torch.where(spread >= 0, spread, torch.nan)
    for step in head.rescale:
        mean, std = rescaled(step, mean), _stretched(step, std)
    if ensemble is not None:
        middle = mean.mean(dim=1)
        std = (std.square() + (mean - middle[:, None]).square()).mean(dim=1).sqrt()
        mean = middle
    columns = torch.cat([mean, std], dim=1).T.contiguous()
    return HeadColumns(
        columns=[float_column(column) for column in columns],
        finite=finite_rows(columns),
        out_of_bounds=_out_of_bounds(head, mean[:, None]),
    )


def _flagged(head: RegressionHead, made: HeadColumns) -> HeadColumns:
    """With the flag of each row, where the head has a threshold."""
    if head.threshold is None:
        return made
    import torch  # imported by now; planning does not need it

    above = to_numpy(made.columns[0]) > head.threshold
    return replace(made, columns=[*made.columns, to_arrow(above)], above_threshold=torch.from_numpy(above))


def _out_of_bounds(head: RegressionHead, values: Tensor) -> Tensor | None:
    """`[rows, kinds, targets]` → bool `[rows]`: which rows have a value outside the declared bounds; None if none."""
    if head.bounds is None:
        return None
    bad = values.new_zeros(values.shape[0]).bool()
    if head.bounds.low is not None:
        bad |= (values < values.new_tensor(head.bounds.low)).flatten(1).any(dim=1)
    if head.bounds.high is not None:
        bad |= (values > values.new_tensor(head.bounds.high)).flatten(1).any(dim=1)
    return bad if bool(bad.any()) else None


def _stretched(step: Rescale, std: Tensor) -> Tensor:
    """The standard deviation after the inverse of a linear scaler."""
    if step.scale is None:
        return std
    scale = std.new_tensor(step.scale)
    return std / scale if step.kind == "minmax" else std * scale


def rescaled(step: Rescale, values: Tensor) -> Tensor:
    """The inverse of the target's scaler, in float64 and in scikit-learn's order of operations."""
    if step.kind in FUNCTIONS:
        import torch  # imported by now; planning does not need it

        function: Callable[[Tensor], Tensor] = getattr(torch, step.kind)
        return function(values)
    scale = None if step.scale is None else values.new_tensor(step.scale)
    shift = None if step.shift is None else values.new_tensor(step.shift)
    if step.kind == "minmax":
        return (values - shift) / scale  # type: ignore[operator]
    values = values if scale is None else values * scale
    return values if shift is None else values + shift
