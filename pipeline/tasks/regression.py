"""Regression: `[rows, targets]` → one float64 column per target."""

import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import RegressionHead
from ..records import ColumnOptions


def decode(head: RegressionHead, raw: Tensor, options: ColumnOptions) -> tuple[list[pa.Array], Tensor]:  # noqa: ARG001 - the one face all tasks have
    """Columns as `columns.output_fields` names them, and which rows came out finite, bool `[rows]`."""
    by_target = raw.double().T.contiguous()
    return [pa.array(values.cpu().numpy()) for values in by_target], torch.isfinite(by_target).all(dim=0)
