"""Paths of distributions: read back, they have the heights that numpy computes from the rows."""

import re

import numpy as np
import pytest
from scoreline.pipeline.monitoring.drift import RunDrift
from scoreline.pipeline.reporting.lines import Frame, bars_of, draw, height_of, outer_edges, shares_of
from scoreline.schemas.profile import NumberBins

from monitored_rows import CITIES, layout_of, profile_of
from monitored_rows import draw as drawn

FRAME = Frame(width=120, height=100)


def heights(path: str) -> list[float]:
    """The heights of the steps, from below."""
    return [100 - float(y) for y in re.findall(r"(?:M0 |V)([0-9.]+)H", path)]


def test_numbers() -> None:
    """The bars are those of numpy's histogram between the outer edges, with one more at each side."""
    frame = drawn(5000, seed=1)
    layout = layout_of(drawn(4000))
    drift = RunDrift(layout, 1)
    drift.add("a", profile_of(layout, frame))
    column = drift.columns()[0]
    bins = column.reference.bins
    assert isinstance(bins, NumberBins)
    edges = [bins.edges[index] for index in bins.shown]
    assert outer_edges(bins) == (edges[0], edges[-1])
    # an edge belongs to the bin below it
    between = np.nextafter([-np.inf, *edges, np.inf], np.inf)
    expected = np.histogram(frame["age"], [-1e300, *between[1:-1], 1e300])[0]
    assert bars_of(column.reference, column.now.counts) == expected.tolist()
    lines, top = draw(FRAME, column.reference, column.now)
    assert heights(lines.now) == pytest.approx((100 * expected / 5000 / top).tolist(), abs=0.06)
    assert lines.training.startswith("M0 100V")
    assert lines.training.endswith("V100Z")
    assert (lines.previous, lines.worst) == ("", "")


def test_categories() -> None:
    """A bar for each, one for others, one for unseen values."""
    layout = layout_of(drawn(4000))
    frame = drawn(3000, seed=2)
    frame.loc[:299, "city"] = "Atlantis"
    drift = RunDrift(layout, 1)
    drift.add("a", profile_of(layout, frame))
    column = drift.columns()[2]
    bars = bars_of(column.reference, column.now.counts)
    assert len(bars) == len(CITIES) + 2
    assert (bars[-1], sum(bars)) == (300, 3000)


def test_no_rows_and_roots() -> None:
    """Nothing is drawn of an empty sample; roots keep zero and the top in place."""
    assert shares_of([0, 0]) == []
    roots = Frame(width=1, height=100, roots=True)
    assert [height_of(share, roots, 0.64) for share in (0.0, 0.16, 0.64, 0.9)] == [100, 50, 0, 0]
