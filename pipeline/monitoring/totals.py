"""The counts of a whole run: those of its files, each of which stands for as many rows as lie between counted rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.profile import ColumnCounts
from .layout import FIRST_BIN, NULLS, REJECTED, Layout
from .profile import Profile

Floats = NDArray[np.float64]


class Totals:
    """Sums of profiles, weighted by the distance between counted rows."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        columns = len(layout.columns)
        self._counts = np.zeros(layout.num_counts, dtype=np.int64)
        self._weighted, self._squared = np.zeros((2, columns))
        self._low, self._high = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, profile: Profile) -> None:
        """Add the rows of a file, or of a part of it."""
        rows = np.add.reduceat(profile.counts, self._layout.starts[:-1])
        self._counts += profile.counts * profile.stride
        self._weighted += rows * float(profile.stride)
        self._squared += rows * float(profile.stride) ** 2
        self._low, self._high = np.minimum(self._low, profile.low), np.maximum(self._high, profile.high)

    def columns(self) -> list[ColumnCounts]:
        """The totals of each column."""
        return [self._column(index) for index in range(len(self._layout.columns))]

    def _column(self, index: int) -> ColumnCounts:
        start, end = self._layout.starts[index : index + 2]
        counts = self._counts[start:end].tolist()
        squared = self._squared[index]
        return ColumnCounts(
            counts=counts[FIRST_BIN:],
            nulls=counts[NULLS],
            rejected=counts[REJECTED],
            sample=float(self._weighted[index] ** 2 / squared) if squared else 0.0,  # Kish's effective size
            low=finite(self._low[index]),
            high=finite(self._high[index]),
        )


def column_counts(layout: Layout, index: int, profile: Profile) -> ColumnCounts:
    """The counts of one column of a file."""
    start, end = layout.starts[index : index + 2]
    counts = profile.counts[start:end]
    estimated = (counts * profile.stride).tolist()
    return ColumnCounts(
        counts=estimated[FIRST_BIN:],
        nulls=estimated[NULLS],
        rejected=estimated[REJECTED],
        sample=float(counts.sum()),
        low=finite(profile.low[index]),
        high=finite(profile.high[index]),
    )


def effective_counts(layout: Layout, columns: list[ColumnCounts]) -> Floats:
    """Counts as those of a simple sample of the same precision, float64 `[counts]`, in the order of the layout."""
    found = np.zeros(layout.num_counts)
    for index, column in enumerate(columns):
        counts = np.array([column.nulls, column.rejected, *column.counts], dtype=np.float64)
        total = counts.sum()
        found[layout.starts[index] : layout.starts[index + 1]] = counts * (column.sample / total if total else 0.0)
    return found


def finite(value: Any) -> float | None:
    """A number for JSON; None for infinities and NaN."""
    return float(value) if math.isfinite(value) else None
