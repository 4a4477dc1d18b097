"""The distances of several columns at once, against those of each alone."""

import numpy as np
import pytest
from scoreline.pipeline.monitoring.distances import jensen_shannon, kolmogorov_smirnov, wasserstein
from scoreline.pipeline.monitoring.layout import flat_counts
from scoreline.pipeline.monitoring.other_distances import measure
from scoreline.pipeline.monitoring.profile import Profile
from scoreline.schemas.profile import NumberBins

from monitored_rows import draw, layout_of, profile_of

LAYOUT = layout_of(draw(3000))


def test_columns_of_different_widths() -> None:
    """Numbers have all distances, categories one."""
    counts = profile_of(LAYOUT, draw(900, 1, shift=0.7)).counts
    baseline = flat_counts(LAYOUT.columns)
    columns = range(len(LAYOUT.columns))
    found = measure(LAYOUT, columns, LAYOUT.rows_of(counts), LAYOUT.rows_of(baseline))
    assert [sorted(one) for one in found] == [
        ["jensen_shannon"] if column.name == "city" else ["jensen_shannon", "ks", "mean_shift", "wasserstein"]
        for column in LAYOUT.columns
    ]
    for index, column in enumerate(LAYOUT.columns):
        one, other = (all_[LAYOUT.starts[index] + 2 : LAYOUT.starts[index + 1]][None] for all_ in (counts, baseline))
        assert found[index]["jensen_shannon"] == pytest.approx(jensen_shannon(one, other)[0])
        if isinstance(column.bins, NumberBins):
            assert column.std is not None
            centers = np.array(column.bins.centers)
            assert found[index]["ks"] == pytest.approx(kolmogorov_smirnov(one, other)[0])
            assert found[index]["wasserstein"] == pytest.approx(wasserstein(one, other, centers[None])[0] / column.std)
            means = [np.average(centers, weights=sample[0]) for sample in (one, other)]
            assert found[index]["mean_shift"] == pytest.approx((means[0] - means[1]) / column.std)


def test_missing_values() -> None:
    """Count in the first distance alone."""
    frame = draw(900, 1)
    rows = [
        profile_of(LAYOUT, one).counts for one in (frame, frame.assign(age=frame["age"].where(frame.index % 3 > 0)))
    ]
    (found,) = measure(LAYOUT, [0], *(LAYOUT.rows_of(counts)[:1] for counts in rows))
    assert found["jensen_shannon"] > 0.4
    assert abs(found["mean_shift"]) < 0.1


def test_no_values() -> None:
    """Have no distance."""
    empty = LAYOUT.rows_of(Profile.empty(LAYOUT).counts)
    full = LAYOUT.rows_of(flat_counts(LAYOUT.columns))
    assert measure(LAYOUT, range(4), empty, full) == [{}] * 4
    assert measure(LAYOUT, [], empty[:0], full[:0]) == []
