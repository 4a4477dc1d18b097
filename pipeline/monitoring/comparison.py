"""The comparison of counted rows with a baseline (the bundle's reference, or the run before), and what all comparisons
of a run with that baseline come to. docs/explanation/drift.md describes the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...schemas.drift import WorstDrift
from .distances import Floats, stability
from .layout import Layout

#: The smallest PSI of each level, by convention (Siddiqi 2006).
YELLOW_PSI, RED_PSI = 0.10, 0.25
Level: TypeAlias = Literal["none", "yellow", "red"]
LEVELS: tuple[Level, ...] = ("none", "yellow", "red")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The PSI of every column of some files, `[files, columns]`: `psi`, `bound` float64; `level` int64, an index into
    `LEVELS`; `above`: whether each is above what chance explains."""

    psi: Floats
    bound: Floats
    level: NDArray[np.int64]
    above: NDArray[np.bool_]


class Baseline:
    """What the rows of a run are compared with, and the totals of these comparisons.

    `levels`: int64 `[levels, columns]`, the number of comparisons at each level; `peaks`: float64 `[columns]`, the
    largest PSI of those at yellow or red, 0 where there is none; `worst`: the comparison with the largest PSI among
    those above chance.

    Args:
        counts: float64 `[compared bins of all columns]`.
        tail: the probability that chance alone exceeds the bound of a column.
    """

    def __init__(self, layout: Layout, counts: Floats, tail: float) -> None:
        self._layout, self._counts, self._tail = layout, counts, tail
        self.levels = np.zeros((len(LEVELS), len(layout.columns)), dtype=np.int64)
        self.peaks = np.zeros(len(layout.columns))
        self.worst: WorstDrift | None = None

    def compare(self, partitions: Sequence[str | None], counts: Floats) -> Comparison:
        """Compare some files, or all rows, with the baseline.

        Args:
            partitions: the names of the files; None for all rows.
            counts: float64 `[files, compared bins of all columns]`.
        """
        num_files, num_bins = counts.shape
        starts = (self._layout.compared[1] + num_bins * np.arange(num_files)[:, None]).ravel()
        found = stability(counts.ravel(), np.tile(self._counts, num_files), starts)
        above = found.significant(self._tail)
        level = above * ((found.psi >= YELLOW_PSI).astype(np.int64) + (found.psi >= RED_PSI))
        shape = num_files, len(self.peaks)
        made = Comparison(
            psi=found.psi.reshape(shape),
            bound=found.bounds(self._tail).reshape(shape),
            level=level.reshape(shape),
            above=above.reshape(shape),
        )
        self.levels += [(made.level == one).sum(axis=0) for one in range(len(LEVELS))]
        np.maximum(self.peaks, np.where(made.level > 0, made.psi, 0.0).max(axis=0), out=self.peaks)
        if above.any():
            self._note_worst(partitions, made)
        return made

    def _note_worst(self, partitions: Sequence[str | None], found: Comparison) -> None:
        psi = np.where(found.above, found.psi, -1.0)
        file, column = (int(at) for at in np.unravel_index(int(psi.argmax()), psi.shape))
        if self.worst is None or psi[file, column] > self.worst.psi:
            name = self._layout.columns[column].name
            self.worst = WorstDrift(column=name, partition=partitions[file], psi=float(psi[file, column]))

    def drifted(self) -> list[tuple[int, float]]:
        """The columns at yellow or red in any comparison, by index, with their largest PSI; the largest first."""
        order = np.argsort(-self.peaks, kind="stable")
        return [(int(index), float(self.peaks[index])) for index in order if self.peaks[index] > 0]
