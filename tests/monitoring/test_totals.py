"""Totals of files that were sampled at different distances."""

import numpy as np
import pytest
from scoreline.pipeline.monitoring.layout import flat_counts
from scoreline.pipeline.monitoring.profile import Profile
from scoreline.pipeline.monitoring.totals import Totals, effective_counts
from scoreline.schemas.profile import ColumnCounts

from monitored_rows import draw, layout_of, profile_of

LAYOUT = layout_of(draw(3000))


def totals_of(*profiles: Profile) -> Totals:
    """The totals of some files."""
    totals = Totals(LAYOUT)
    for profile in profiles:
        totals.add(profile)
    return totals


def test_files_weigh_as_their_rows() -> None:
    """However densely they were sampled; the effective sample is Kish's."""
    dense, sparse = profile_of(LAYOUT, draw(700, 1)), profile_of(LAYOUT, draw(7000, 2), stride=7)
    totals = totals_of(dense, sparse)
    columns = [ColumnCounts(**one) for one in totals.columns()]
    for index, column in enumerate(columns):
        one, other = (alone[index] for alone in (totals_of(dense).columns(), totals_of(sparse).columns()))
        assert column.counts == [a + b for a, b in zip(one["counts"], other["counts"], strict=True)]
        assert sum(column.counts) == 7700
        assert column.sample == pytest.approx((700 + 1000 * 7) ** 2 / (700 + 1000 * 49))
        assert (one["sample"], other["sample"]) == (700, 1000)
        lows = [low for low in (one["low"], other["low"]) if low is not None]
        assert column.low == min(lows, default=None)
    effective = totals.effective_counts()
    samples = np.array([column.sample for column in columns])
    assert effective == pytest.approx(effective_counts(LAYOUT, flat_counts(columns), samples))
    assert np.add.reduceat(effective, LAYOUT.starts[:-1]) == pytest.approx([column.sample for column in columns])


def test_no_rows() -> None:
    """Have no smallest number and no sample."""
    totals = totals_of(Profile.empty(LAYOUT))
    column = ColumnCounts(**totals.columns()[0])
    assert (column.low, column.high, column.sample, sum(column.counts)) == (None, None, 0.0, 0)
    assert not totals.effective_counts().any()
