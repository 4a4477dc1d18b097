"""Distances of binned samples against numpy and scipy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, ks_2samp, wasserstein_distance
from scoreline.pipeline.monitoring.distances import (
    jensen_shannon,
    kolmogorov_smirnov,
    stability,
    wasserstein,
)


def counts_of(num_bins: int) -> st.SearchStrategy[Any]:
    """The counts of two samples that are not empty."""
    one = arrays(np.int64, num_bins, elements=st.integers(0, 1000)).filter(lambda counts: counts.sum() > 0)
    return st.tuples(one, one)


pairs = st.integers(2, 30).flatmap(counts_of)


def psi_of(counts: np.ndarray, baseline: np.ndarray) -> float:
    """The formula, bin by bin."""
    used = (counts > 0) | (baseline > 0)
    p = (counts[used] + 0.5) / (counts.sum() + 0.5 * used.sum())
    q = (baseline[used] + 0.5) / (baseline.sum() + 0.5 * used.sum())
    return float(sum((a - b) * np.log(a / b) for a, b in zip(p, q, strict=True)))


@given(st.lists(pairs, min_size=1, max_size=4))
def test_stability_of_several_columns(columns: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Each column as if it were alone; bins that both samples lack do not count."""
    widths = [len(counts) for counts, _ in columns]
    starts = np.cumsum([0, *widths[:-1]])
    flat = [np.concatenate([pair[at] for pair in columns]).astype(float) for at in (0, 1)]
    found = stability(flat[0], flat[1], starts)
    assert found.psi == pytest.approx([psi_of(*pair) for pair in columns], abs=1e-12)
    assert found.scale == pytest.approx([1 / one.sum() + 1 / other.sum() for one, other in columns])
    df = [int(((one > 0) | (other > 0)).sum()) - 1 for one, other in columns]
    assert found.df.tolist() == df
    expected = [scale * (chi2.isf(1e-6, k) if k else 0) for scale, k in zip(found.scale, df, strict=True)]
    assert found.bounds(1e-6) == pytest.approx(expected)


def test_empty_samples() -> None:
    """A sample without rows does not differ, and no bound is below it."""
    found = stability(np.array([0.0, 0, 3, 4]), np.array([1.0, 2, 3, 4]), np.array([0, 2]))
    assert found.psi[0] == 0
    assert found.df[0] == 0
    counts = np.array([[0.0, 0, 0], [1, 1, 1], [0, 0, 0]])
    baseline = np.array([[1.0, 1, 1], [0, 0, 0], [0, 0, 0]])
    for distance in (jensen_shannon, kolmogorov_smirnov):
        assert distance(counts, baseline).tolist() == [0, 0, 0]
    assert wasserstein(counts, baseline, np.tile(np.arange(3.0), (3, 1))).tolist() == [0, 0, 0]


def beside_a_wider_column(counts: np.ndarray) -> np.ndarray:
    """A row of bins that ends with two zeros, and a column with no empty bin."""
    return np.array([[*counts, 0, 0], np.arange(1, len(counts) + 3)], dtype=float)


@given(pairs)
def test_jensen_shannon_equals_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """With base 2."""
    found = jensen_shannon(*map(beside_a_wider_column, pair))
    assert found.tolist() == pytest.approx([jensenshannon(*pair, base=2), 0], abs=1e-7)


@given(pairs)
def test_ks_and_wasserstein_equal_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Of the samples with every value at the center of its bin."""
    counts, baseline = pair
    centers = np.cumsum(np.arange(1.0, len(counts) + 1))
    values = [np.repeat(centers, each) for each in pair]
    wider = beside_a_wider_column(counts), beside_a_wider_column(baseline)
    assert kolmogorov_smirnov(*wider)[0] == pytest.approx(ks_2samp(*values, method="asymp").statistic)
    expected = wasserstein_distance(centers, centers, counts, baseline)
    places = np.tile([*centers, centers[-1], centers[-1]], (2, 1))
    assert wasserstein(*wider, places).tolist() == pytest.approx([expected, 0])


def test_a_shift_of_half_a_standard_deviation() -> None:
    """Has a PSI of about a quarter in 20 quantile bins."""
    draw = np.random.default_rng(7)
    training, now = draw.normal(size=200_000), draw.normal(0.5, 1, 200_000)
    edges = np.quantile(training, np.arange(1, 20) / 20)
    bins = [np.bincount(np.searchsorted(edges, values), minlength=20).astype(float) for values in (now, training)]
    assert stability(*bins, np.array([0])).psi[0] == pytest.approx(0.24, abs=0.02)
