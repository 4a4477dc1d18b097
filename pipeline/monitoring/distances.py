"""Distances between two samples that were counted in the same bins, with their definitions and sources in
docs/explanation/drift.md.

Counts may be fractions: those of an effective sample. Independent of what the bins are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .chi_squared import chi_squared_quantile

Floats = NDArray[np.float64]
#: Added to every bin, so that a bin that one sample lacks has a finite logarithm.
SMOOTHING = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class StabilityIndex:
    """The population stability index of several columns. `psi`: float64 `[columns]`; `scale`: float64 `[columns]`,
    1/n + 1/m for samples of n and m rows, 0 where one is empty; `ratio`: float64 `[columns]`, the statistic of
    the likelihood-ratio test that both samples have one distribution; `df`: int64 `[columns]`, degrees of freedom."""

    psi: Floats
    scale: Floats
    ratio: Floats
    df: NDArray[np.int64]

    def bounds(self, tail: float) -> Floats:
        """The PSI that chance alone exceeds with probability `tail`, by column: between two samples of one
        distribution, PSI is approximately (1/n + 1/m) times χ² (Yurdakul 2018)."""
        return self.scale * self._quantiles(tail)

    def significant(self, tail: float) -> NDArray[np.bool_]:
        """Whether PSI exceeds its bound, and the likelihood ratio that of its own χ²: for a few hundred rows, the tail
        of PSI is heavier than χ², because a bin that happens to be empty counts too much in it; that of the ratio is
        not (docs/explanation/drift.md)."""
        return (self.psi > self.bounds(tail)) & (self.ratio > self._quantiles(tail))

    def _quantiles(self, tail: float) -> Floats:
        table = [chi_squared_quantile(tail, df) for df in range(int(self.df.max(initial=0)) + 1)]
        return np.array(table)[self.df]


def stability(counts: Floats, baseline: Floats, starts: NDArray[np.int64]) -> StabilityIndex:
    """The population stability index, Σ (p − q) · ln(p / q), of several columns.

    The shares p and q are (count + ½) / (total + ½ · bins). Bins that are empty in both samples do not count.

    Args:
        counts, baseline: float64 `[bins of all columns]`.
        starts: int64 `[columns]`, the first bin of each column.
    """
    widths = np.diff(np.append(starts, len(counts)))
    used = (counts > 0) | (baseline > 0)
    num_used = np.add.reduceat(used, starts, dtype=np.int64)
    totals = np.add.reduceat(counts, starts), np.add.reduceat(baseline, starts)
    p, q = (
        (sample + SMOOTHING) / np.repeat(total + SMOOTHING * np.maximum(num_used, 1), widths)
        for sample, total in zip((counts, baseline), totals, strict=True)
    )
    psi = np.add.reduceat(np.where(used, (p - q) * np.log(p / q), 0.0), starts)
    empty = (totals[0] == 0) | (totals[1] == 0)
    with np.errstate(divide="ignore"):
        scale = np.where(empty, 0.0, 1 / totals[0] + 1 / totals[1])
    return StabilityIndex(
        psi=np.where(empty, 0.0, psi),
        scale=scale,
        ratio=_likelihood_ratio(counts, baseline, starts),
        df=np.where(empty, 0, num_used - 1),
    )


def _likelihood_ratio(counts: Floats, baseline: Floats, starts: NDArray[np.int64]) -> Floats:
    """Twice the logarithm of the likelihood ratio, 2 Σ count · ln(count / expected) over both samples (the G-test)."""

    def information(values: Floats) -> Floats:
        """Σ v · ln v."""
        return np.add.reduceat(values * np.log(np.where(values > 0, values, 1.0)), starts)

    def of_totals(values: Floats) -> Floats:
        totals = np.add.reduceat(values, starts)
        return totals * np.log(np.where(totals > 0, totals, 1.0))

    ratio = -information(counts + baseline) + of_totals(counts + baseline)
    for sample in (counts, baseline):
        ratio += information(sample) - of_totals(sample)
    return np.maximum(2 * ratio, 0.0)


def jensen_shannon(counts: Floats, baseline: Floats) -> Floats:
    """The Jensen–Shannon distance with base 2, from 0 to 1 (Endres and Schindelin 2003).

    Args:
        counts, baseline: float64 `[columns, bins]`; a column with fewer bins ends with zeros.

    Returns:
        float64 `[columns]`; 0 where a sample is empty.
    """
    p, q = _shares(counts), _shares(baseline)
    middle = (p + q) / 2

    def divergence(shares: Floats) -> Floats:
        own = shares > 0
        ratio = np.divide(shares, middle, out=np.ones_like(shares), where=own)
        return np.asarray((shares * np.log2(ratio)).sum(axis=1))

    return np.where(_both(counts, baseline), np.sqrt(np.maximum(0.0, (divergence(p) + divergence(q)) / 2)), 0.0)


def kolmogorov_smirnov(counts: Floats, baseline: Floats) -> Floats:
    """The largest difference between the two cumulative distributions at an edge of a bin: at most the statistic of
    the values themselves. Bins are in order of their values.

    Args:
        counts, baseline: float64 `[columns, bins]`; a column with fewer bins ends with zeros.

    Returns:
        float64 `[columns]`; 0 where a sample is empty.
    """
    return np.where(_both(counts, baseline), _differences(counts, baseline).max(axis=1), 0.0)


def wasserstein(counts: Floats, baseline: Floats, centers: Floats) -> Floats:
    """The first Wasserstein distance, with every value at the center of its bin, in the unit of the centers.

    Args:
        counts, baseline: float64 `[columns, bins]`; a column with fewer bins ends with zeros.
        centers: float64 `[columns, bins]`, ascending; a column with fewer bins repeats its last one.

    Returns:
        float64 `[columns]`; 0 where a sample is empty.
    """
    distances = (_differences(counts, baseline)[:, :-1] * np.diff(centers, axis=1)).sum(axis=1)
    return np.where(_both(counts, baseline), distances, 0.0)


def _both(counts: Floats, baseline: Floats) -> NDArray[np.bool_]:
    """Where neither sample is empty."""
    return np.asarray((counts.sum(axis=1) > 0) & (baseline.sum(axis=1) > 0))


def _shares(counts: Floats) -> Floats:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def _differences(counts: Floats, baseline: Floats) -> Floats:
    """Between the cumulative distributions, absolute."""
    return np.abs(np.cumsum(_shares(counts), axis=1) - np.cumsum(_shares(baseline), axis=1))
