"""Turns rows that a loading stage cannot use into rejects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..features.pinned import some_of
from ..inputs.check import some_rows
from ..records import CheckedBatch, Reject
from .batches import positions_or_all


def without_rows(
    checked: CheckedBatch, reasons: Mapping[int, str], *, stage: str, column: str, pin: bool
) -> CheckedBatch:
    """Keep the other rows; those with a reason become rejects of the stage.

    Args:
        reasons: by the index of the row among those that are kept so far.
        pin: whether pixels are in pinned memory.
    """
    before = positions_or_all(checked.kept, checked.batch.num_rows)
    good = np.delete(np.arange(len(before)), list(reasons))
    indices = np.array(sorted(reasons), dtype=np.int64)
    texts = tuple(reasons[index] for index in indices.tolist())
    reject = Reject(positions=before[indices], stage=stage, column=column, reasons=texts)
    kept = np.ones(len(before), dtype=np.bool_)
    kept[indices] = False
    pinned = {name: values for name, values in checked.columns.items() if pin and _are_pixels(values)}
    others = {name: values for name, values in checked.columns.items() if name not in pinned}
    columns = some_rows(others, good) | {name: some_of(values, kept, pin=True) for name, values in pinned.items()}
    return replace(checked, columns=columns, kept=before[good], rejects=(*checked.rejects, reject))


def _are_pixels(values: Any) -> TypeGuard[NDArray[np.uint8]]:
    return isinstance(values, np.ndarray) and values.dtype == np.uint8
