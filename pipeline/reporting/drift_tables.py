"""Drift in the report: the map of inputs and columns, and the table of features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from ...schemas.profile import ColumnProfile, Drift, NumberBins, PartitionProfile, RunProfile
from ..errors import counted
from ..monitoring.comparison import RED_PSI
from .lines import Frame, bars_of, draw, outer_edges
from .page import Cell, DriftMap, FeatureRow, Level, MapRow, Pair
from .wording import number, psi, share, shown

#: Rows and columns of the map, and features of the table.
MAP_ROWS, MAP_COLUMNS, FEATURES = 40, 40, 60
#: Characters of the name of a column above the map.
MAP_NAME = 28
SPARK = Frame(width=120, height=26)

_LEVELS: dict[str, Level] = {"none": "ok", "yellow": "warning", "red": "alarm"}


def make_map(profile: RunProfile) -> DriftMap | None:
    """The inputs with drift by the columns with drift; None if there is none."""
    inputs = profile.worst_partitions[:MAP_ROWS]
    worst: dict[str, float] = {}
    for one in inputs:
        for name, value in one.psi.items():
            worst[name] = max(value, worst.get(name, 0.0))
    if not worst:
        return None
    names = sorted(_chosen(inputs), key=lambda name: -worst[name])
    cut = len(worst) - len(names)
    others = len(profile.columns) - len(worst)
    all_recorded = all(one.red + one.yellow == len(one.psi) for one in inputs)
    kind = "without drift" if all_recorded else "with less drift, or none,"
    notes = [
        f"{counted(profile.partitions - len(inputs), 'other input')} not shown: less drift, or none"
        if profile.partitions > len(inputs)
        else "",
        f"{counted(cut, 'column')} with less drift not shown" if cut else "",
        f"{counted(others, 'column')} {kind} in these inputs not shown" if others else "",
    ]
    return DriftMap(
        columns=tuple(Cell(text=shown(name, MAP_NAME), level=_level(worst[name])) for name in names),
        rows=tuple(_map_row(one, names) for one in inputs),
        note="; ".join(note for note in notes if note),
    )


def _chosen(inputs: Sequence[PartitionProfile]) -> list[str]:
    """The worst column of each input, then the second of each, and so on, as many as the map has room for."""
    ranked = [sorted(one.psi, key=lambda name: -one.psi[name]) for one in inputs]
    names = dict.fromkeys(name for rank in zip_longest(*ranked) for name in rank if name is not None)
    return list(names)[:MAP_COLUMNS]


def _map_row(one: PartitionProfile, names: list[str]) -> MapRow:
    return MapRow(
        name=shown(one.partition),
        level="alarm" if one.red else "warning",
        cells=tuple(
            Cell(text=psi(one.psi[name]), level=_level(one.psi[name])) if name in one.psi else Cell(text="")
            for name in names
        ),
    )


def _level(value: float) -> Level:
    """The level of a PSI that is above the bound of chance."""
    return "alarm" if value >= RED_PSI else "warning"


def make_features(profile: RunProfile) -> tuple[tuple[FeatureRow, ...], str]:
    """The features with the most drift, and what is left out."""
    features = [column for column in profile.columns if column.role == "feature" and profile.sampled]
    features.sort(key=_rank, reverse=True)
    left = len(features) - FEATURES
    note = f"{counted(left, 'feature')} with less drift not shown; profile.json has all." if left > 0 else ""
    return tuple(_feature(column) for column in features[:FEATURES]), note


def _rank(column: ColumnProfile) -> tuple[int, float]:
    """By level, then by the largest PSI of an input or of all rows."""
    drifts = [column.drift, *(one.drift for one in column.worst)]
    return max(list(_LEVELS).index(one.level) for one in drifts), max(one.psi for one in drifts)


def _feature(column: ColumnProfile) -> FeatureRow:
    worst = column.worst[0] if column.worst else None
    drifted = worst if worst is not None and worst.drift.level != "none" else None
    reference, now = column.reference, column.now
    counts = None if drifted is None else drifted.counts
    lines, _ = draw(SPARK, reference, now, worst=counts)
    missing, rows = now.nulls + now.rejected, sum(now.counts) + now.nulls + now.rejected
    then, of = reference.nulls + reference.rejected, sum(reference.counts) + reference.nulls + reference.rejected
    return FeatureRow(
        name=shown(column.name),
        lines=lines,
        worst_input="" if drifted is None else shown(drifted.partition),
        worst=Cell(text="") if worst is None else _cell(worst.drift),
        drift=_cell(column.drift),
        from_previous=Cell(text="") if column.previous_drift is None else _cell(column.previous_drift),
        shift=_shift(column, drifted.drift if drifted is not None else None),
        missing=_compared(share(missing, rows), share(then, of)),
        tails=_tails(column),
        span=_span(column),
    )


def _cell(drift: Drift) -> Cell:
    return Cell(text=psi(drift.psi), level=_LEVELS[drift.level])


def _compared(now: str, then: str) -> Pair:
    """A figure, with that of the reference if it is another one."""
    return Pair(now=now, reference="" if now == then else then)


def _shift(column: ColumnProfile, worst: Drift | None) -> Pair:
    """The shift of the mean, and in the worst input. Values beyond the reference count as those of its outer bin; if
    they are further away than its own span, the shift is larger than it seems."""
    now, then = column.now, column.reference
    above = below = False
    if now.low is not None and now.high is not None and then.low is not None and then.high is not None:
        span = then.high - then.low
        above, below = now.high > then.high + span, now.low < then.low - span

    def shown_shift(drift: Drift | None) -> str:
        if drift is None or drift.mean_shift is None:
            return ""
        sign = "≥ " if above and drift.mean_shift > 0 else "≤ " if below and drift.mean_shift < 0 else ""
        return f"{sign}{drift.mean_shift:+.2f}"

    return Pair(now=shown_shift(column.drift), reference=shown_shift(worst))


def _tails(column: ColumnProfile) -> Pair:
    """The share of values outside the outer bars, or of unseen categories."""
    bins, now, then = column.reference.bins, column.now.counts, column.reference.counts
    if not isinstance(bins, NumberBins):
        return Pair(now=f"{share(now[-1], sum(now))} unseen" if now[-1] else "")
    if outer_edges(bins) is None:
        return Pair(now="")
    shares = []
    for counts in (now, then):
        bars = bars_of(column.reference, counts)
        shares.append(share(bars[0] + bars[-1], sum(bars)))
    return _compared(*shares)


def _span(column: ColumnProfile) -> Pair:
    """The smallest and the largest sampled value, and those of the reference."""
    now, then = column.now, column.reference
    if now.low is None or now.high is None or then.low is None or then.high is None:
        return Pair(now="")
    return _compared(*(f"{number(low)} – {number(high)}" for low, high in ((now.low, now.high), (then.low, then.high))))
