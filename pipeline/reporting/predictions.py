"""Predictions in the report: histograms of columns of numbers, and shares of labels."""

from __future__ import annotations

from ...schemas.profile import CategoryBins, ColumnProfile, NumberBins, RunProfile
from .lines import Frame, bars_of, draw, height_of, outer_edges, shares_of
from .page import Histogram, Labels, LabelShare, Tick
from .wording import and_more, number, psi, share, shown

#: Columns of each kind, and labels of one.
MAX_COLUMNS, MAX_LABELS = 6, 12
HISTOGRAM = Frame(width=520, height=130, roots=True)
#: The width of the picture of shares.
SHARES_WIDTH = 300.0
_Y_SHARES = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
#: The least distance of two ticks.
_TICKS_APART = 16.0


def make_predictions(profile: RunProfile) -> tuple[tuple[Histogram, ...], tuple[Labels, ...], str]:
    """The histograms, the labels, and what is left out. Columns with the most drift come first."""
    outputs = [column for column in profile.columns if column.role == "output"]
    outputs.sort(key=lambda column: -column.drift.psi)
    outputs = [column for column in outputs if any(column.now.counts)]
    numbers = [one for one in outputs if isinstance(one.reference.bins, NumberBins)]
    labels = [one for one in outputs if isinstance(one.reference.bins, CategoryBins)]
    left = max(0, len(numbers) - MAX_COLUMNS) + max(0, len(labels) - MAX_COLUMNS)
    note = and_more(left, "column") and f"{and_more(left, 'column')}, with less drift"
    return (
        tuple(_histogram(column) for column in numbers[:MAX_COLUMNS]),
        tuple(_labels(column) for column in labels[:MAX_COLUMNS]),
        note,
    )


def _summary(column: ColumnProfile) -> str:
    """Its drift from the reference and from the run before."""
    before = column.previous_drift
    return f"PSI {psi(column.drift.psi)} from the reference" + (
        "" if before is None else f", {psi(before.psi)} from the run before"
    )


def _histogram(column: ColumnProfile) -> Histogram:
    lines, top = draw(HISTOGRAM, column.reference, column.now, column.previous)
    return Histogram(
        name=shown(column.name),
        summary=_summary(column),
        lines=lines,
        x_ticks=_x_ticks(column),
        y_ticks=_y_ticks(top),
    )


def _x_ticks(column: ColumnProfile) -> tuple[Tick, ...]:
    """The ends of the bars with ends, and three edges between them."""
    bins = column.reference.bins
    assert isinstance(bins, NumberBins)
    if outer_edges(bins) is None:
        return ()
    bars, edges = len(bins.shown) + 1, [bins.edges[index] for index in bins.shown]
    chosen = sorted({round(part * (len(edges) - 1) / 4) for part in range(5)})
    least = 1e-3 * (edges[-1] - edges[0])
    return tuple(
        Tick(at=(index + 1) * HISTOGRAM.width / bars, text=number(edges[index] if abs(edges[index]) > least else 0.0))
        for index in chosen
    )


def _y_ticks(top: float) -> tuple[Tick, ...]:
    """Shares from the lowest up, as far as there is room."""
    ticks: list[Tick] = []
    for one in _Y_SHARES:
        at = height_of(one, HISTOGRAM, top)
        if one <= top and (not ticks or ticks[-1].at - at >= _TICKS_APART):
            ticks.append(Tick(at=at, text=f"{one:.0%}"))
    return tuple(ticks)


def _labels(column: ColumnProfile) -> Labels:
    bins = column.reference.bins
    assert isinstance(bins, CategoryBins)
    names = [shown(one) for one in bins.categories[: bins.named]] + ["other labels", "unseen labels"]
    training, now = (shares_of(bars_of(column.reference, one.counts)) for one in (column.reference, column.now))
    before = None if column.previous is None else shares_of(bars_of(column.reference, column.previous.counts))
    training = training or [0.0] * len(names)
    found = [index for index in range(len(names)) if training[index] or now[index]]
    found.sort(key=lambda index: -now[index])
    top = max(max(training), max(now), max(before or [0.0])) or 1.0

    def tick(value: float) -> Tick:
        return Tick(at=SHARES_WIDTH * value / top, text=share(value, 1))

    return Labels(
        name=shown(column.name),
        summary=_summary(column),
        shares=tuple(
            LabelShare(
                name=names[index],
                training=tick(training[index]),
                previous=tick(before[index]) if before else None,
                now=tick(now[index]),
            )
            for index in found[:MAX_LABELS]
        ),
        note=and_more(len(found) - MAX_LABELS, "label"),
    )
