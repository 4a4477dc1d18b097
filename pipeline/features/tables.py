"""Checked feature columns → the float32 tensors of a table input."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from ...schemas.inputs import TableInput
from ..records import Sequences
from .categories import Column
from .sequences import Found

Columns = Mapping[str, Column]
#: A table as `[columns, rows]`, images, or sequences.
Filled: TypeAlias = np.ndarray | Sequences


def unfit(entry: TableInput, array: np.ndarray, columns: Columns) -> Found:
    if entry.dtype == "int64":
        wrong = [(array[place] != columns[name]) for place, name in enumerate(entry.columns)]
        reason = "is no whole number, and the model takes indices"
    elif np.isfinite(array).all():
        return []
    else:
        wrong = list(~np.isfinite(array))
        reason = "is not finite as float32 after preparation"
    return [(np.flatnonzero(bad), name, reason) for name, bad in zip(entry.columns, wrong, strict=True) if bad.any()]
