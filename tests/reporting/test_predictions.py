"""Predictions: shares of labels, and histograms with their axes."""

import pytest
from scoreline.pipeline.reporting.predictions import HISTOGRAM, SHARES_WIDTH, make_predictions

from monitored_rows import draw
from reported_runs import profile


def test_a_histogram() -> None:
    """With the run before; the ticks are edges of bars, in order, within the picture."""
    (found,), labels, note = make_predictions(profile((0.0, 0.0)))
    assert (found.name, labels, note) == ("probability", (), "")
    assert all((found.lines.training, found.lines.now, found.lines.previous))
    positions = [tick.at for tick in found.x_ticks]
    assert positions == sorted(positions)
    assert 0 < positions[0] < positions[-1] < HISTOGRAM.width
    values = [float(tick.text) for tick in found.x_ticks]
    assert values == pytest.approx([values[0] + (values[-1] - values[0]) * part / 4 for part in range(5)], abs=0.02)
    assert found.y_ticks[0].text == "1%"


def test_labels() -> None:
    """The most frequent first; the bars are in proportion to the shares that pandas counts."""
    known = profile((0.0,))
    city = known.columns[2].model_copy(update={"role": "output", "name": "prediction"})
    histograms, (found,), _ = make_predictions(known.model_copy(update={"columns": [city]}))
    assert histograms == ()
    expected = draw(1000, seed=0)["city"].value_counts(normalize=True)
    assert [one.name for one in found.shares] == expected.index.tolist()
    assert [one.now.text for one in found.shares] == [f"{100 * share:.3g}%" for share in expected]
    top = max(one.at for label in found.shares for one in (label.now, label.training, label.previous) if one)
    assert top == SHARES_WIDTH
    ratios = [one.now.at / found.shares[0].now.at for one in found.shares]
    assert ratios == pytest.approx((expected / expected.iloc[0]).tolist())


def test_many_columns() -> None:
    """The others are counted."""
    known = profile((0.0,))
    many = [known.columns[3].model_copy(update={"name": f"p{number}"}) for number in range(9)]
    found, _, note = make_predictions(known.model_copy(update={"columns": many}))
    assert (len(found), note) == (6, "and 3 more columns, with less drift")
