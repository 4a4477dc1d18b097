"""Regression: `[rows, targets]` → one float64 column per target, in the target's own unit."""

from collections.abc import Callable

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import Ensemble, RegressionHead, Rescale
from ..records import ColumnOptions
from .classes import finite_rows, float_column

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
) -> tuple[list[pa.Array], Tensor | None]:
    """Columns as `columns.output_fields` names them, and which rows came out finite, bool `[rows]`, None
    where all did.

    Args:
        raw: `[rows, targets]`, or `[rows, members, targets]` of an ensemble: their mean is the prediction.
    """
    values = raw.double()
    for step in head.rescale:
        values = _rescaled(step, values)
    spread = []
    if ensemble is not None:
        std = values.std(dim=1, correction=0)
        spread = [float_column(std[:, place]) for place in range(std.shape[1])] if ensemble.std else []
        values = values.mean(dim=1)
    by_target = values.T.contiguous().cpu()
    return [*(float_column(column) for column in by_target), *spread], finite_rows(by_target)


def _rescaled(step: Rescale, values: Tensor) -> Tensor:
    """The inverse of the target's scaler, in float64 and scikit-learn's order."""
    if step.kind in _FUNCTIONS:
        return _FUNCTIONS[step.kind](values)
    scale = None if step.scale is None else torch.tensor(step.scale, dtype=torch.float64, device=values.device)
    shift = None if step.shift is None else torch.tensor(step.shift, dtype=torch.float64, device=values.device)
    if step.kind == "minmax":
        return (values - shift) / scale  # type: ignore[operator]
    values = values if scale is None else values * scale
    return values if shift is None else values + shift
