"""The counts of a whole run: those of its files, each of which represents as many rows as lie between counted rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import FIRST_BIN, NULLS, REJECTED, Counts, Layout
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

    @property
    def counts(self) -> Counts:
        """The estimated rows by bin, int64 `[counts]`."""
        return self._counts

    def columns(self) -> list[dict[str, Any]]:
        """The totals of each column, as the fields of `ColumnCounts`."""
        if not self._layout.columns:  # numpy splits an empty array into one piece
            return []
        return [
            column_counts(counts, sample=sample, low=low, high=high)
            for counts, sample, low, high in zip(
                np.split(self._counts, self._layout.starts[1:-1]),
                self._samples().tolist(),
                self._low.tolist(),
                self._high.tolist(),
                strict=True,
            )
        ]

    def effective_counts(self) -> Floats:
        """The counts as those of a simple sample of the same precision, float64 `[counts]`."""
        return effective_counts(self._layout, self._counts, self._samples())

    def _samples(self) -> Floats:
        """Kish's effective size of each column, float64 `[columns]`."""
        squares = self._weighted**2
        return np.divide(squares, self._squared, out=np.zeros_like(squares), where=self._squared > 0)


def column_counts(counts: Counts, *, sample: float, low: float, high: float) -> dict[str, Any]:
    """The fields of `ColumnCounts`.

    Args:
        counts: the estimated rows of the column, in the order of a layout.
    """
    estimated = counts.tolist()
    return {
        "counts": estimated[FIRST_BIN:],
        "nulls": estimated[NULLS],
        "rejected": estimated[REJECTED],
        "sample": sample,
        "low": finite(low),
        "high": finite(high),
    }


def effective_counts(layout: Layout, counts: NDArray[Any], samples: Floats) -> Floats:
    """Counts as those of a simple sample of the same precision, float64 `[counts]`, in the order of the layout.

    Args:
        counts: `[counts]`; samples: float64 `[columns]`, the size of that sample.
    """
    totals = np.add.reduceat(counts, layout.starts[:-1]).astype(np.float64)
    shares = np.divide(samples, totals, out=np.zeros_like(totals), where=totals > 0)
    return np.asarray(counts * np.repeat(shares, np.diff(layout.starts)))


def finite(value: float) -> float | None:
    """A number for JSON; None for infinities and NaN."""
    return value if math.isfinite(value) else None
