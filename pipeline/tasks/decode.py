"""Converts raw outputs of heads to columns, and to and from the arrays stored as golden rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...schemas.bundle import Ensemble
from ...schemas.heads import AnyHead
from ..options import ColumnOptions
from ..records import Lists, Sequences
from .named_errors import named_errors
from .task import HeadColumns
from .tasks import task_of


def decode_head(
    head: AnyHead, raw: Tensor | Sequences, options: ColumnOptions, ensemble: Ensemble | None = None, members: int = 1
) -> HeadColumns:
    """The columns listed by `Task.fields`, and which rows are finite and within bounds; see `Task.decode`."""
    return task_of(head).decode(raw, options, ensemble, members)


def raw_arrays(
    heads: Sequence[AnyHead], raw: Mapping[str, Tensor | Sequences]
) -> dict[str, NDArray[np.float32] | Lists]:
    """Raw outputs as stored in golden rows; see `Task.raw_array`."""
    return {head.name: task_of(head).raw_array(raw[head.name]) for head in heads}


def raw_tensors(raw: NDArray[np.float32] | Lists) -> Tensor | Sequences:
    """The inverse of `raw_arrays` for one head. Not for generated texts."""
    if isinstance(raw, Lists):
        return Sequences(values=torch.from_numpy(np.array(raw.values)), offsets=torch.from_numpy(raw.offsets))
    return torch.from_numpy(raw.copy())


def check_shape(head: AnyHead, raw: Tensor, rows: int) -> None:
    """Check the shape of a raw output; see `Task.check_shape`. Errors name the head."""
    with named_errors(head):
        task_of(head).check_shape(raw, rows)
