"""The comparisons of a run with one baseline, against the simple definition of PSI."""

import numpy as np
from scoreline.pipeline.monitoring.comparison import LEVELS, Baseline
from scoreline.pipeline.monitoring.layout import Layout

from monitored_rows import draw, layout_of, profile_of

LAYOUT = layout_of(draw(20_000))


def counts_of(seed: int, *, rows: int = 2000, shift: float = 0.0) -> np.ndarray:
    return LAYOUT.in_compared_bins(profile_of(LAYOUT, draw(rows, seed, shift=shift)).counts)


def by_definition(counts: np.ndarray, layout: Layout, column: int) -> float:
    """The PSI of a column."""
    bounds = [*layout.compared[1].tolist(), len(counts)]
    ours, theirs = (sample[slice(*bounds[column : column + 2])] for sample in (counts, layout.reference_counts))
    used = (ours > 0) | (theirs > 0)
    p, q = ((sample[used] + 0.5) / (sample[used] + 0.5).sum() for sample in (ours, theirs))
    return float(((p - q) * np.log(p / q)).sum())


def test_psi_and_levels() -> None:
    """A shift of two deviations is red in its column alone."""
    baseline, counts = Baseline(LAYOUT, LAYOUT.reference_counts, 1e-6), counts_of(1, shift=2)
    found = baseline.compare(["a"], counts[None])
    np.testing.assert_allclose(found.psi[0], [by_definition(counts, LAYOUT, at) for at in range(len(LAYOUT.columns))])
    assert [LEVELS[level] for level in found.level[0]] == ["red", "none", "none", "none"]
    assert (found.psi[found.above] > found.bound[found.above]).all()


def test_the_totals() -> None:
    """The worst file, and the largest PSI of each column that is yellow or red somewhere."""
    baseline = Baseline(LAYOUT, LAYOUT.reference_counts, 1e-6)
    shifts = {"a": 0.5, "b": 2.0, "c": 1.0, "d": 0.0}
    found = baseline.compare(list(shifts), np.stack([counts_of(2, shift=shift) for shift in shifts.values()]))
    psi = dict(zip(shifts, found.psi[:, 0].tolist(), strict=True))
    baseline.compare([None], counts_of(3, shift=0.8)[None])
    assert baseline.worst is not None
    assert (baseline.worst.column, baseline.worst.partition, baseline.worst.psi) == ("age", "b", psi["b"])
    assert baseline.drifted() == [(0, psi["b"])]
    assert baseline.levels[:, 0].tolist() == [1, 1, 3]
    assert baseline.levels[:, 1:].tolist() == [[5] * 3, [0] * 3, [0] * 3]


def test_nothing_above_chance() -> None:
    """Thirty rows, whose PSI is large."""
    baseline = Baseline(LAYOUT, LAYOUT.reference_counts, 1e-6)
    assert baseline.compare(["a"], counts_of(4, rows=30)[None]).psi.max() > 0.25
    assert (baseline.worst, baseline.drifted()) == (None, [])
