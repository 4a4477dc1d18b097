"""The summary events of optional stages, emitted once at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..bundle.explained import COMPLETE
from ..events import Event, Level

if TYPE_CHECKING:
    from ..scoring.explaining.attribution import Attribution
    from ..timing import StageTimes

#: The largest share of the difference in score that attributions may miss it by without a warning.
WIDE_GAP = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsDeduplicated(Event):
    """Repeated rows were scored once."""

    name: ClassVar[str] = "rows_deduplicated"
    #: Share of the rows that were not scored again.
    hit_rate: float
    #: Seconds spent on finding repeats, and an estimate of the seconds that scoring them would have taken.
    spent_s: float
    saved_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupeTooSlow(Event):
    """Finding repeated rows took longer than scoring them would have."""

    name: ClassVar[str] = "dedupe_too_slow"
    level: ClassVar[Level] = "warning"
    spent_s: float
    saved_s: float
    reason: str = "finding repeated rows took longer than scoring them would have: leave --dedupe out"


def dedupe_summary(times: StageTimes) -> Iterator[Event]:
    """How many rows were not scored again, and whether finding them was worth it."""
    if "dedupe" not in times.stages or not times["dedupe"].rows:
        return
    rows, scored, spent = times["dedupe"].rows, times["forward"].rows, times["dedupe"].busy_s
    saved = times["forward"].busy_s / max(1, scored) * (rows - scored)
    yield RowsDeduplicated(hit_rate=round(1 - scored / rows, 4), spent_s=round(spent, 3), saved_s=round(saved, 3))
    if saved <= spent:
        yield DedupeTooSlow(spent_s=round(spent, 3), saved_s=round(saved, 3))


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsNotExplained(Event):
    """Some rows have no attributions."""

    name: ClassVar[str] = "rows_not_explained"
    level: ClassVar[Level] = "warning"
    rows: int
    reason: str = (
        "rows between these and the baseline have no finite score, or make the model raise: their attributions are null"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplanationRetried(Event):
    """The model failed on rows together while they were explained, and passed in pieces."""

    name: ClassVar[str] = "explanation_retried"
    level: ClassVar[Level] = "warning"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsExplained(Event):
    """Rows have attributions."""

    name: ClassVar[str] = "rows_explained"
    method: str
    rows: int
    #: The most that the attributions of a row miss the difference between its score and the baseline's by; None for
    #: methods whose attributions do not sum to it.
    largest_gap: float | None = None
    #: The largest of those differences.
    largest_difference: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributionsImprecise(Event):
    """Attributions miss the difference in score by more than a twentieth of the largest one."""

    name: ClassVar[str] = "attributions_imprecise"
    level: ClassVar[Level] = "warning"
    largest_gap: float
    largest_difference: float
    reason: str = (
        "attributions miss the difference in score widely: the model is too steep for the points of the path; pass"
        " --explain shapley"
    )


def explain_summary(times: StageTimes, attribution: Attribution | None) -> Iterator[Event]:
    """How many rows have attributions, and how nearly those sum to the difference in score."""
    if attribution is None or "explain" not in times.stages:
        return
    method, rows = attribution.explain.method, times["explain"].rows
    if attribution.lost:
        yield RowsNotExplained(rows=attribution.lost)
    if retried := attribution.retried:
        yield ExplanationRetried(
            reason=f"the model fails on rows together that it takes in pieces, which is slow: {retried[0]}"
        )
    if method not in COMPLETE:
        yield RowsExplained(method=method, rows=rows)
        return
    gap, difference = attribution.largest_gap
    yield RowsExplained(method=method, rows=rows, largest_gap=gap, largest_difference=difference)
    if gap > WIDE_GAP * difference:
        yield AttributionsImprecise(largest_gap=gap, largest_difference=difference)
