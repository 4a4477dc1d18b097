"""Whether the rows of a run have drifted: the comparison of each file, and of all files, with the bundle's reference
and with the run before. docs/explanation/drift.md describes the rule.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ...schemas.profile import (
    ColumnCounts,
    ColumnProfile,
    Drift,
    NumberBins,
    PartitionDrift,
    PartitionProfile,
    ReferenceColumn,
)
from .comparison import LEVELS, Baseline, Comparison
from .distances import jensen_shannon, kolmogorov_smirnov, wasserstein
from .layout import Layout
from .profile import Profile
from .totals import Floats, Totals, column_counts, effective_counts

#: The probability that any comparison of a run is above its bound by chance.
FALSE_ALARM = 0.001
#: Listed files for each column, listed files of the run, and the columns that are listed of each.
WORST_OF_COLUMN, WORST_OF_RUN, COLUMNS_OF_WORST = 3, 50, 30
#: What has counts by bin, nulls and rejected rows.
Counted: TypeAlias = ColumnCounts | ReferenceColumn
#: No PSI is as large: with smoothed shares it is at most about the logarithm of the number of rows.
MAX_PSI = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class _Ranked:
    """A listed file of a column. `rank`: by its level, then by its PSI."""

    rank: float
    partition: str
    level: int
    psi: float
    bound: float
    counts: ColumnCounts


class RunDrift:
    """The drift of a run, file by file. `reference`, `before`: the comparisons with the bundle's reference and with the
    run before, None where there is none.

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
        if previous is not None:
            self.before = Baseline(layout, layout.in_compared_bins(effective_counts(layout, previous)), tail)
        self._totals = Totals(layout)
        self._worst: list[list[_Ranked]] = [[] for _ in range(columns)]
        self._least_listed = np.full(columns, -1.0)
        self._partitions: list[tuple[int, int, float, str, PartitionProfile]] = []
        self.sampled = self.rows = self.partitions = 0

    def add(self, partition: str, profile: Profile) -> None:
        """Add a file with the profile of all its parts."""
        counts = self._layout.in_compared_bins(profile.counts)
        found = self.reference.compare(partition, counts)
        before = None if self.before is None else self.before.compare(partition, counts)
        self._totals.add(profile)
        self.sampled += profile.sampled
        self.rows += profile.rows
        self.partitions += 1
        self._rank_columns(partition, profile, found)
        if found.level.any():
            self._rank_partition(partition, profile, found, before)

    def _rank_columns(self, partition: str, profile: Profile, found: Comparison) -> None:
        rank = found.level * MAX_PSI + found.psi
        for index in np.flatnonzero(rank > self._least_listed).tolist():
            ranked = self._worst[index]
            one = _Ranked(
                rank=float(rank[index]),
                partition=partition,
                level=int(found.level[index]),
                psi=float(found.psi[index]),
                bound=float(found.bound[index]),
                counts=column_counts(self._layout, index, profile),
            )
            heapq.heappush(ranked, one)
            if len(ranked) > WORST_OF_COLUMN:
                heapq.heappop(ranked)
            if len(ranked) == WORST_OF_COLUMN:
                self._least_listed[index] = ranked[0].rank

    def _rank_partition(self, partition: str, profile: Profile, found: Comparison, before: Comparison | None) -> None:
        red, yellow = int((found.level == 2).sum()), int((found.level == 1).sum())
        worst = float(found.psi[found.level > 0].max())
        columns = [index for index in np.argsort(-found.psi).tolist() if found.level[index]][:COLUMNS_OF_WORST]
        names = self._layout.columns
        one = PartitionProfile(
            partition=partition,
            sampled=profile.sampled,
            red=red,
            yellow=yellow,
            worst_psi=worst,
            psi={names[index].name: float(found.psi[index]) for index in columns},
            previous_psi=before and {names[index].name: float(before.psi[index]) for index in columns},
        )
        heapq.heappush(self._partitions, (red, yellow, worst, partition, one))
        if len(self._partitions) > WORST_OF_RUN:
            heapq.heappop(self._partitions)

    def columns(self) -> list[ColumnProfile]:
        """The drift of every column, in the order of the layout. Call it once, after all files."""
        layout, now = self._layout, self._totals.columns()
        counts = layout.in_compared_bins(effective_counts(layout, now))
        found = self.reference.compare(None, counts)
        before = None if self.before is None else self.before.compare(None, counts)
        return [self._column(index, now[index], found, before) for index in range(len(layout.columns))]

    def _column(self, index: int, now: ColumnCounts, found: Comparison, before: Comparison | None) -> ColumnProfile:
        reference = self._layout.columns[index]
        own = self._previous[index] if self._previous is not None else None
        drift = _drift(reference, found, index, now, reference)
        previous = None if before is None or own is None else _drift(reference, before, index, now, own)
        yellow, red = _files_at_levels(self.reference, index, drift)
        previous_yellow, previous_red = _files_at_levels(self.before, index, previous)
        return ColumnProfile(
            name=reference.name,
            role="feature" if index < self._layout.num_features else "output",
            reference=reference,
            now=now,
            previous=own,
            drift=drift,
            previous_drift=previous,
            worst=[self._listed(one, reference) for one in sorted(self._worst[index], reverse=True)],
            red=red,
            yellow=yellow,
            previous_red=previous_red,
            previous_yellow=previous_yellow,
        )

    def _listed(self, one: _Ranked, reference: ReferenceColumn) -> PartitionDrift:
        """The other distances are computed only where there is drift: a thousand columns would take a while."""
        drift = Drift(psi=one.psi, bound=one.bound, level=LEVELS[one.level])
        if one.level:
            drift = _measured(reference, one.counts, reference, one.psi, one.bound, one.level)
        return PartitionDrift(partition=one.partition, drift=drift, counts=one.counts)

    def num_at(self, level: Literal["yellow", "red"]) -> int:
        """How many comparisons with the reference are at a level, those of all rows included."""
        return int(self.reference.levels[LEVELS.index(level)].sum())

    def worst_partitions(self) -> list[PartitionProfile]:
        """The files with the most drift, the worst first."""
        return [one for *_, one in sorted(self._partitions, key=lambda entry: entry[:4], reverse=True)]


def _files_at_levels(baseline: Baseline | None, index: int, whole: Drift | None) -> tuple[int, int]:
    """The files at yellow and at red in a column. The whole run is counted too, and is not a file."""
    if baseline is None or whole is None:
        return 0, 0
    yellow, red = baseline.levels[1:, index].tolist()
    return yellow - (whole.level == "yellow"), red - (whole.level == "red")


def _drift(column: ReferenceColumn, found: Comparison, index: int, counts: ColumnCounts, baseline: Counted) -> Drift:
    psi, bound = float(found.psi[index]), float(found.bound[index])
    return _measured(column, counts, baseline, psi, bound, int(found.level[index]))


def _measured(
    column: ReferenceColumn, counts: ColumnCounts, baseline: Counted, psi: float, bound: float, level: int
) -> Drift:
    """The drift of a column, with the other distances."""
    known = np.array(counts.counts, dtype=np.float64), np.array(baseline.counts, dtype=np.float64)
    if not known[0].sum() or not known[1].sum():
        return Drift(psi=psi, bound=bound, level=LEVELS[level])
    found: dict[str, float] = {"jensen_shannon": jensen_shannon(*_with_missing(counts, baseline))}
    if isinstance(column.bins, NumberBins):
        found["ks"] = kolmogorov_smirnov(*known)
        if column.std:
            centers = np.array(column.bins.centers)
            means = [float((sample * centers).sum() / sample.sum()) for sample in known]
            found["wasserstein"] = wasserstein(*known, centers) / column.std
            found["mean_shift"] = (means[0] - means[1]) / column.std
    finite = {name: value for name, value in found.items() if np.isfinite(value)}
    return Drift(psi=psi, bound=bound, level=LEVELS[level], **finite)


def _with_missing(counts: ColumnCounts, baseline: Counted) -> tuple[Floats, Floats]:
    one, other = (
        np.array([sample.nulls + sample.rejected, *sample.counts], dtype=np.float64) for sample in (counts, baseline)
    )
    return one, other
