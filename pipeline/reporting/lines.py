"""Distributions as the paths of SVG: steps with a bar for each bin. Independent of what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from ...schemas.profile import CategoryBins, ColumnCounts, NumberBins, ReferenceColumn
from .page import Lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The size of a picture. `roots`: whether heights are square roots of shares."""

    width: float
    height: float
    roots: bool = False


def bars_of(reference: ReferenceColumn, counts: Sequence[int]) -> list[int]:
    """Counts by bin as the bars of a picture, int `[bars]`: the outer bars of numbers have no end, and the last bar of
    categories is that of unseen values."""
    bins = reference.bins
    if isinstance(bins, CategoryBins):
        return list(counts)
    groups = bins.shown_bins() if bins.shown else bins.compared_bins()
    bars = [0] * (groups[-1] + 1)
    for group, count in zip(groups, counts, strict=True):
        bars[group] += count
    return bars


def outer_edges(bins: NumberBins) -> tuple[float, float] | None:
    """The edges of the outer bars, which hold the middle of the reference; None if a picture has no such bars."""
    return (bins.edges[bins.shown[0]], bins.edges[bins.shown[-1]]) if len(bins.shown) > 1 else None


def shares_of(bars: Sequence[int]) -> list[float]:
    """Bars as shares of their sum; empty if that is 0."""
    whole = sum(bars)
    return [bar / whole for bar in bars] if whole else []


def draw(
    frame: Frame,
    reference: ReferenceColumn,
    now: ColumnCounts,
    previous: ColumnCounts | None = None,
    worst: ColumnCounts | None = None,
) -> tuple[Lines, float]:
    """The distributions of a column in one picture.

    Returns:
        The paths, and the share at the top of the picture.
    """
    training, *others = (
        shares_of(bars_of(reference, sample.counts)) if sample is not None else []
        for sample in (reference, now, previous, worst)
    )
    top = max((share for shares in (training, *others) for share in shares), default=1.0) * 1.02
    drawn = [_steps(shares, frame, top) for shares in others]
    area = _steps(training, frame, top).removeprefix("M0 ")
    closed = f"M0 {frame.height:g}V{area}V{frame.height:g}Z" if area else ""
    return Lines(training=closed, now=drawn[0], previous=drawn[1], worst=drawn[2]), top


def height_of(share: float, frame: Frame, top: float) -> float:
    """Where a share is drawn: the distance from the upper edge."""
    ratio = min(1.0, share / top)
    return frame.height - frame.height * (sqrt(ratio) if frame.roots else ratio)


def _steps(shares: Sequence[float], frame: Frame, top: float) -> str:
    """A line of steps, which begins with `M0 ` and the first height."""
    if not shares:
        return ""
    step, path = frame.width / len(shares), ""
    for index, share in enumerate(shares):
        y = f"{height_of(share, frame, top):.1f}"
        path += f"{'V' if index else 'M0 '}{y}H{(index + 1) * step:.1f}"
    return path
