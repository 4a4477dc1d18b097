"""Whether the rows of a run have drifted: the comparison of each file, and of all files, with the bundle's reference
and with the run before. docs/explanation/drift.md describes the rule.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...schemas.profile import ColumnCounts, ColumnProfile, PartitionProfile
from .comparison import LEVELS, Baseline, Comparison
from .distances import Floats
from .layout import NULLS, REJECTED, Counts, Layout, flat_counts
from .other_distances import measure
from .profile import Profile
from .totals import Totals, column_counts, effective_counts

#: The probability that any comparison of a run is above its bound by chance.
FALSE_ALARM = 0.001
#: Listed files for each column, listed files of the run, and the columns that are listed of each.
WORST_OF_COLUMN, WORST_OF_RUN, COLUMNS_OF_WORST = 3, 50, 30
#: No PSI is as large: with smoothed shares it is at most about the logarithm of the number of rows.
MAX_PSI = 1000.0
#: Counts of files that are compared at once.
MAX_PENDING = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class _Ranked:
    """A listed file of a column. `rank`: by its level, then by its PSI; `counts`: int64 `[counts of the column]`."""

    rank: float
    partition: str
    level: int
    psi: float
    bound: float
    counts: Counts
    stride: int
    low: float
    high: float

    def fields(self) -> dict[str, Any]:
        """The fields of its `ColumnCounts`."""
        counts = self.counts * self.stride
        return column_counts(counts, sample=float(self.counts.sum()), low=self.low, high=self.high)


class RunDrift:
    """The drift of a run, file by file. `reference`, `before`: the comparisons with the bundle's reference and with the
    run before, None where there is none; of all files once `columns` has been called.

    Args:
        num_partitions: the number of files, for which the bounds are corrected.
        previous: the totals of the run before, by column; None where there are none.
    """

    def __init__(self, layout: Layout, num_partitions: int, previous: list[ColumnCounts] | None = None) -> None:
        self._layout, self._previous = layout, previous
        columns = len(layout.columns)
        self.tests = columns * (num_partitions + 1)
        tail = FALSE_ALARM / max(1, self.tests)
        self.reference = Baseline(layout, layout.reference_counts, tail)
        self.before: Baseline | None = None
        self._previous_counts = None if previous is None else flat_counts(previous)
        if previous is not None and self._previous_counts is not None:
            samples = np.array([column.sample for column in previous])
            effective = effective_counts(layout, self._previous_counts, samples)
            self.before = Baseline(layout, layout.in_compared_bins(effective), tail)
        self._totals = Totals(layout)
        self._pending: list[tuple[str, Profile]] = []
        self._worst: list[list[_Ranked]] = [[] for _ in range(columns)]
        self._least_listed = np.full(columns, -1.0)
        self._partitions: list[tuple[int, int, float, str, PartitionProfile]] = []
        self.sampled = self.rows = self.partitions = 0

    def add(self, partition: str, profile: Profile) -> None:
        """Add a file with the profile of all its parts."""
        self._totals.add(profile)
        self.sampled += profile.sampled
        self.rows += profile.rows
        self.partitions += 1
        self._pending.append((partition, profile))
        if len(self._pending) * self._layout.num_counts >= MAX_PENDING:
            self._compare()

    def _compare(self) -> None:
        """Compare the files that have been added since the last time."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        names = [name for name, _ in pending]
        counts = self._layout.in_compared_bins(np.stack([profile.counts for _, profile in pending]))
        found = self.reference.compare(names, counts)
        before = None if self.before is None else self.before.compare(names, counts)
        self._rank_columns(pending, found)
        for file in np.flatnonzero(found.level.any(axis=1)).tolist():
            self._rank_partition(*pending[file], found, before, file)

    def _rank_columns(self, files: Sequence[tuple[str, Profile]], found: Comparison) -> None:
        rank = found.level * MAX_PSI + found.psi
        listed = (rank > self._least_listed) & ((found.level > 0) | (rank == rank.max(axis=0)))
        if len(files) > WORST_OF_COLUMN:  # at most these of each column
            listed &= rank >= np.partition(rank, -WORST_OF_COLUMN, axis=0)[-WORST_OF_COLUMN]
        starts = self._layout.starts
        for file, index in np.argwhere(listed).tolist():
            ranked, (partition, profile) = self._worst[index], files[file]
            if len(ranked) == WORST_OF_COLUMN and rank[file, index] <= ranked[0].rank:
                continue
            one = _Ranked(
                rank=float(rank[file, index]),
                partition=partition,
                level=int(found.level[file, index]),
                psi=float(found.psi[file, index]),
                bound=float(found.bound[file, index]),
                counts=profile.counts[starts[index] : starts[index + 1]].copy(),
                stride=profile.stride,
                low=float(profile.low[index]),
                high=float(profile.high[index]),
            )
            heapq.heappush(ranked, one)
            if len(ranked) > WORST_OF_COLUMN:
                heapq.heappop(ranked)
            if len(ranked) == WORST_OF_COLUMN:
                self._least_listed[index] = ranked[0].rank

    def _rank_partition(
        self, partition: str, profile: Profile, found: Comparison, before: Comparison | None, file: int
    ) -> None:
        psi, level, names = found.psi[file], found.level[file], self._layout.columns
        red, yellow = int((level == 2).sum()), int((level == 1).sum())
        worst = float(psi[level > 0].max())
        columns = [index for index in np.argsort(-psi).tolist() if level[index]][:COLUMNS_OF_WORST]
        one = PartitionProfile(
            partition=partition,
            sampled=profile.sampled,
            red=red,
            yellow=yellow,
            worst_psi=worst,
            psi={names[index].name: float(psi[index]) for index in columns},
            previous_psi=before and {names[index].name: float(before.psi[file, index]) for index in columns},
        )
        heapq.heappush(self._partitions, (red, yellow, worst, partition, one))
        if len(self._partitions) > WORST_OF_RUN:
            heapq.heappop(self._partitions)

    def columns(self) -> list[ColumnProfile]:
        """The drift of every column, in the order of the layout. Call it once, after all files."""
        self._compare()
        layout, now = self._layout, self._totals.columns()
        counts = layout.in_compared_bins(self._totals.effective_counts())[None]
        drifts = self._drifts(self.reference.compare([None], counts), flat_counts(layout.columns))
        previous: Sequence[dict[str, Any] | None] = [None] * len(drifts)
        if self.before is not None and self._previous_counts is not None:
            previous = self._drifts(self.before.compare([None], counts), self._previous_counts)
        listed = self._listed()
        return [
            self._column(index, now[index], drifts[index], previous[index], listed[index])
            for index in range(len(layout.columns))
        ]

    def _drifts(self, found: Comparison, baseline: Floats) -> list[dict[str, Any]]:
        """The drift of all rows of each column, as the fields of `Drift`."""
        rows = self._layout.rows_of(self._totals.counts), self._layout.rows_of(baseline)
        others = measure(self._layout, range(len(self._layout.columns)), *rows)
        measured = zip(found.psi[0].tolist(), found.bound[0].tolist(), found.level[0].tolist(), others, strict=True)
        return [{"psi": psi, "bound": bound, "level": LEVELS[level], **more} for psi, bound, level, more in measured]

    def _column(
        self,
        index: int,
        now: dict[str, Any],
        drift: dict[str, Any],
        previous: dict[str, Any] | None,
        worst: list[dict[str, Any]],
    ) -> ColumnProfile:
        """Validated at once: a thousand columns have ten thousand records."""
        reference = self._layout.columns[index]
        yellow, red = _files_at_levels(self.reference, index, drift)
        previous_yellow, previous_red = _files_at_levels(self.before, index, previous)
        return ColumnProfile.model_validate(
            {
                "name": reference.name,
                "role": "feature" if index < self._layout.num_features else "output",
                "reference": reference,
                "now": now,
                "previous": self._previous[index] if self._previous is not None else None,
                "drift": drift,
                "previous_drift": previous,
                "worst": worst,
                "red": red,
                "yellow": yellow,
                "previous_red": previous_red,
                "previous_yellow": previous_yellow,
            }
        )

    def _listed(self) -> list[list[dict[str, Any]]]:
        """The listed files of each column, as the fields of `PartitionDrift`: those with drift, or the one that comes
        closest to it. The other distances are computed only where there is drift."""
        ordered = (sorted(ranked, reverse=True) for ranked in self._worst)
        worst = [[one for place, one in enumerate(ranked) if one.level or place == 0] for ranked in ordered]
        drifted = [(index, one) for index, ranked in enumerate(worst) for one in ranked if one.level]
        references = self._layout.rows_of(flat_counts(self._layout.columns))
        rows = np.zeros((len(drifted), references.shape[1]))
        for row, (_, one) in zip(rows, drifted, strict=True):
            row[: len(one.counts) - REJECTED] = one.counts[REJECTED:]
            row[0] += one.counts[NULLS]
        indices = [index for index, _ in drifted]
        others = iter(measure(self._layout, indices, rows, references[indices]))
        return [
            [
                {
                    "partition": one.partition,
                    "drift": {
                        "psi": one.psi,
                        "bound": one.bound,
                        "level": LEVELS[one.level],
                        **(next(others) if one.level else {}),
                    },
                    "counts": one.fields(),
                }
                for one in ranked
            ]
            for ranked in worst
        ]

    def num_at(self, level: Literal["yellow", "red"]) -> int:
        """How many comparisons with the reference are at a level, those of all rows included."""
        return int(self.reference.levels[LEVELS.index(level)].sum())

    def worst_partitions(self) -> list[PartitionProfile]:
        """The files with the most drift, the worst first. Call it after `columns`."""
        return [one for *_, one in sorted(self._partitions, key=lambda entry: entry[:4], reverse=True)]


def _files_at_levels(baseline: Baseline | None, index: int, whole: dict[str, Any] | None) -> tuple[int, int]:
    """The files at yellow and at red in a column. The whole run is counted too, and is not a file."""
    if baseline is None or whole is None:
        return 0, 0
    yellow, red = baseline.levels[1:, index].tolist()
    return yellow - (whole["level"] == "yellow"), red - (whole["level"] == "red")
