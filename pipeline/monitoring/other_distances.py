"""The distances of a column besides its PSI, for all rows and for files with drift (docs/explanation/drift.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .distances import Floats, jensen_shannon, kolmogorov_smirnov, wasserstein
from .layout import Layout


def measure(layout: Layout, columns: Sequence[int], counts: Floats, baseline: Floats) -> list[dict[str, float]]:
    """Measure how far samples are from others.

    Args:
        columns: the index of the column of each pair of samples.
        counts, baseline: float64 `[pairs, counts of the widest column]`, as `Layout.rows_of` arranges them.

    Returns:
        For each pair, the distances that are defined and finite, by the names of `schemas.profile.Drift`: none if a
        sample has no values, and only `jensen_shannon` for categories.
    """
    if not len(columns):
        return []
    index = np.array(columns)
    known = counts[:, 1:], baseline[:, 1:]
    empty = (known[0].sum(axis=1) == 0) | (known[1].sum(axis=1) == 0)
    centers, std = layout.centers[index], layout.deviations[index]
    ordered = ~np.isnan(centers[:, 0])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        means = [(sample * centers).sum(axis=1) / sample.sum(axis=1) for sample in known]
        found = {
            "jensen_shannon": jensen_shannon(counts, baseline),
            "ks": np.where(ordered, kolmogorov_smirnov(*known), np.nan),
            "wasserstein": wasserstein(*known, centers) / std,
            "mean_shift": (means[0] - means[1]) / std,
        }
    table = np.where(empty, np.nan, list(found.values()))
    finite = np.isfinite(table)
    return [
        {name: float(table[at, pair]) for at, name in enumerate(found) if finite[at, pair]}
        for pair in range(len(index))
    ]
