"""What the report shows, as plain records: texts, levels and paths of lines. Independent of files and of HTML.

Texts from outside (names of files, columns and labels, cells, messages) are written by `wording.shown`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "alarm"]
#: The levels, the worst last.
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "alarm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A sentence about the run, and what supports it. `topic`: a few words for the headline."""

    level: Level
    topic: str
    title: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A figure."""

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A figure with its level. `text`: empty where there is nothing to say."""

    text: str
    level: Level = "ok"


@dataclass(frozen=True, kw_only=True, slots=True)
class MapRow:
    """An input in the map of drift, with a cell for each column of the map."""

    name: str
    level: Level
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftMap:
    """Inputs with drift, the worst first, by columns with drift, the worst first. `note`: what it leaves out."""

    columns: tuple[Cell, ...]
    rows: tuple[MapRow, ...]
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """The distributions of a column as SVG paths; empty where there is no sample. `training`: an area; the others:
    lines."""

    training: str
    now: str
    previous: str = ""
    worst: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A figure of the run, and the one that it is compared with if that is another one; empty where there is none."""

    now: str
    reference: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRow:
    """A feature. `worst_input`: the input with the most drift, empty if none has any. `drift`: of all rows;
    `from_previous`: from the run before. `shift`: of the mean, in standard deviations, over all rows and in the worst
    input. `tails`: rows outside the middle 99% of the reference; or unseen categories. `span`: of sampled values."""

    name: str
    lines: Lines
    worst_input: str
    worst: Cell
    drift: Cell
    from_previous: Cell
    shift: Pair
    missing: Pair
    tails: Pair
    span: Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark on an axis, in units of the picture."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """The distribution of a column of numbers. Heights are square roots, so that small shares can be seen."""

    name: str
    summary: str
    lines: Lines
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelShare:
    """The share of rows with a label: of the reference, the run before, and now; positions in units of the picture.
    None where there is no sample."""

    name: str
    training: Tick
    previous: Tick | None
    now: Tick


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """The distribution of a column of labels, the most frequent first."""

    name: str
    summary: str
    shares: tuple[LabelShare, ...]
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectRow:
    """The rejects with one reason."""

    rows: str
    column: str
    reason: str
    inputs: str
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """A stage. `bar`: the share of the wall time that the run waited for it, from 0 to 1."""

    name: str
    busy: str
    waited: str
    bar: float
    rows: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A line of the lineage."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command to type next, and what it is for."""

    purpose: str
    line: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The report of an output. A section whose data does not exist is empty. `compared_with_previous`: whether the
    predictions are also those of the run before."""

    output: str
    headline: str
    level: Level
    ended: str
    findings: tuple[Finding, ...]
    tiles: tuple[Tile, ...]
    reference: str
    drift_map: DriftMap | None
    features: tuple[FeatureRow, ...]
    features_note: str
    compared_with_previous: bool
    histograms: tuple[Histogram, ...]
    labels: tuple[Labels, ...]
    predictions_note: str
    rejects: tuple[RejectRow, ...]
    rejects_note: str
    stages: tuple[StageRow, ...]
    stages_note: str
    facts: tuple[Fact, ...]
    commands: tuple[Command, ...]
    version: str
