"""Regression: `[rows, targets]` → one float64 column per target, quantile and spread, in the target's own unit."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...schemas.bundle import Ensemble
from ...schemas.heads import RegressionHead, Rescale
from ..options import ColumnOptions
from .classes import HeadColumns, finite_rows, float_column

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "exp2": torch.exp2,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "log": torch.log,
    "log1p": torch.log1p,
}


def decode(
    head: RegressionHead,
    raw: Tensor,
    options: ColumnOptions,  # noqa: ARG001 - the face that every task has
    ensemble: Ensemble | None,
) -> HeadColumns:
    """Columns as `columns.output_fields` names them.

    Args:
        raw: `[rows, width]`, or `[rows, members, width]` of an ensemble: their mean is the prediction. The width is
            quantiles × targets, or 2 × targets with a spread.
    """
    targets = max(1, len(head.targets))
    values = raw.double().reshape(
        *raw.shape[:-1], raw.shape[-1] // targets, targets
    )  # [rows, (members,) kinds, targets]
    if head.spread is not None:
        return _with_spread(head, values, ensemble)
    for step in head.rescale:
        values = rescaled(step, values)
    spread = []
    if ensemble is not None:
        std = values.std(dim=1, correction=0).flatten(1)
        spread = [float_column(std[:, place]) for place in range(std.shape[1])] if ensemble.std else []
        values = values.mean(dim=1)
    columns = values.flatten(1).T.contiguous()
    return HeadColumns(
        columns=[*(float_column(column) for column in columns), *spread],
        finite=finite_rows(columns),
        beyond=_beyond(head, values),
    )


def _with_spread(head: RegressionHead, values: Tensor, ensemble: Ensemble | None) -> HeadColumns:
    """Means, then standard deviations, in the target's own unit. Those of an ensemble are the mean and deviation of the
    even mixture of its members' (Lakshminarayanan et al. 2017)."""
    mean, spread = values[..., 0, :], values[..., 1, :]
    match head.spread:
        case "log_variance":
            std = torch.exp(0.5 * spread)
        case "variance":
            std = torch.sqrt(spread)
        case _:
            std = torch.where(spread >= 0, spread, torch.nan)
    for step in head.rescale:
        mean, std = rescaled(step, mean), _stretched(step, std)
    if ensemble is not None:
        middle = mean.mean(dim=1)
        std = torch.sqrt((std.square() + (mean - middle[:, None]).square()).mean(dim=1))
        mean = middle
    columns = torch.cat([mean, std], dim=1).T.contiguous()
    return HeadColumns(
        columns=[float_column(column) for column in columns],
        finite=finite_rows(columns),
        beyond=_beyond(head, mean[:, None]),
    )


def _beyond(head: RegressionHead, values: Tensor) -> Tensor | None:
    """`[rows, kinds, targets]` → the rows with a value beyond the bounds declared; None where there are none."""
    if head.bounds is None:
        return None
    bad = torch.zeros(values.shape[0], dtype=torch.bool)
    if head.bounds.low is not None:
        bad |= (values < torch.tensor(head.bounds.low, dtype=values.dtype)).flatten(1).any(dim=1)
    if head.bounds.high is not None:
        bad |= (values > torch.tensor(head.bounds.high, dtype=values.dtype)).flatten(1).any(dim=1)
    return bad if bool(bad.any()) else None


def _stretched(step: Rescale, std: Tensor) -> Tensor:
    """A standard deviation behind the inverse of a scaler that is a straight line."""
    if step.scale is None:
        return std
    scale = torch.tensor(step.scale, dtype=torch.float64)
    return std / scale if step.kind == "minmax" else std * scale


def rescaled(step: Rescale, values: Tensor) -> Tensor:
    """The inverse of the target's scaler, in float64 and scikit-learn's order."""
    if step.kind in _FUNCTIONS:
        return _FUNCTIONS[step.kind](values)
    scale = None if step.scale is None else torch.tensor(step.scale, dtype=torch.float64, device=values.device)
    shift = None if step.shift is None else torch.tensor(step.shift, dtype=torch.float64, device=values.device)
    if step.kind == "minmax":
        return (values - shift) / scale  # type: ignore[operator]
    values = values if scale is None else values * scale
    return values if shift is None else values + shift
