"""Findings about a run's input, output and model: events, and the functions that derive them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from ..errors import ScorelineError
from ..events import Event, Level
from ..inputs.discover import Discovery, discover
from ..scoring.retries import Retried, Retries, retry_reason

if TYPE_CHECKING:
    from ...schemas.run import DriftSummary
    from ..options import ScoreJob
    from ..planning.existing import ExistingParts
    from ..planning.plan import Plan, PlannedPartition

#: The largest number of names in an event.
MAX_NAMES = 5


class LinkLoopsFound(Event):
    """The input contains links to one of their own parent folders."""

    name: ClassVar[str] = "link_loops_found"
    level: ClassVar[Level] = "warning"
    count: int
    links: list[str]
    reason: str = "links to one of their own parent folders are not followed; all other links are"


class ParquetFilesIgnored(Event):
    """The input contains Parquet files with a suffix of neither Parquet nor CSV."""

    name: ClassVar[str] = "parquet_files_ignored"
    level: ClassVar[Level] = "warning"
    count: int
    files: list[str]
    reason: str = (
        "these are Parquet files by their content, but are ignored because of their suffix; rename them to .parquet, or"
        " pass --format parquet, which reads every file"
    )


class NewInputsFound(Event):
    """Input files appeared during the run."""

    name: ClassVar[str] = "new_inputs_found"
    level: ClassVar[Level] = "warning"
    count: int
    first: str
    reason: str = "left for the next run"


class TableVersionFound(Event):
    """The input is a table, whose data files at this version are the input files."""

    name: ClassVar[str] = "table_version_found"
    #: The version of a Delta table, or the id of an Iceberg snapshot.
    version: str
    files: int


def input_findings(found: Discovery) -> Iterator[Event]:
    """The version of a table, link loops, and Parquet files with another suffix."""
    if found.table_version is not None:
        yield TableVersionFound(version=found.table_version, files=len(found.partitions))
    if found.loops:
        yield LinkLoopsFound(count=len(found.loops), links=list(found.loops[:MAX_NAMES]))
    if found.ignored_parquet:
        yield ParquetFilesIgnored(count=len(found.ignored_parquet), files=list(found.ignored_parquet[:MAX_NAMES]))


class ManifestUnreadable(Event):
    """The last run's run.json is damaged, so its digests are not used."""

    name: ClassVar[str] = "manifest_unreadable"
    level: ClassVar[Level] = "warning"
    reason: str


class OrphanedPartsFound(Event):
    """The output contains parts of inputs that do not belong to this run."""

    name: ClassVar[str] = "orphaned_parts_found"
    level: ClassVar[Level] = "warning"
    count: int
    first: str
    reason: str = (
        "parts of earlier runs, of inputs that do not belong to this run, are kept, and readers will see them; pass"
        " --prune to remove them"
    )


class ForeignFilesFound(Event):
    """The output contains files that Scoreline did not write."""

    name: ClassVar[str] = "foreign_files_found"
    count: int
    first: str
    reason: str = "files in the output that Scoreline did not write are left unchanged"


def output_findings(existing: ExistingParts, *, prune: bool) -> Iterator[Event]:
    """A damaged run.json, orphaned parts that are kept, foreign files."""
    if existing.manifest_error is not None:
        yield ManifestUnreadable(reason=existing.manifest_error)
    if existing.orphaned_parts and not prune:
        yield OrphanedPartsFound(count=len(existing.orphaned_parts), first=existing.orphaned_parts[0])
    if existing.foreign_files:
        yield ForeignFilesFound(count=len(existing.foreign_files), first=existing.foreign_files[0])


class PartColumnsDiffer(Event):
    """Inputs differ in their key columns, and so the parts do; readers take the columns of one of them for all."""

    name: ClassVar[str] = "part_columns_differ"
    level: ClassVar[Level] = "warning"
    #: How many inputs differ from the first one, and the first of them.
    count: int
    first: str
    difference: str
    reason: str = (
        "the parts have different columns, and most readers take those of one part for all of them; select the same"
        " ones with --keys, or read the parts by themselves"
    )


def plan_findings(plan: Plan) -> Iterator[Event]:
    """Inputs whose parts have other columns than those of the first, among the inputs that will be scored."""
    alike: dict[int, list[PlannedPartition]] = {}  # few, also of a million inputs
    for planned in plan.partitions:
        alike.setdefault(id(planned.columns.schema), []).append(planned)
    groups = list(alike.values())
    others = [group for group in groups[1:] if _types(group[0]) != _types(groups[0][0])]
    if others:
        both = [(planned.partition.name, _types(planned)) for planned in (groups[0][0], others[0][0])]
        (_, expected), (first, found) = both
        column = next(name for name in (*expected, *found) if expected.get(name) != found.get(name))
        where = [f"{types[column]} in {name!r}" if column in types else f"not in {name!r}" for name, types in both]
        yield PartColumnsDiffer(
            count=sum(map(len, others)), first=first, difference=f"column {column!r} is {' and '.join(where)}"
        )


def _types(planned: PlannedPartition) -> dict[str, str]:
    """The types of the columns; readers take text and bytes of any layout together."""
    text, data = (pa.string(), pa.large_string(), pa.string_view()), (pa.binary(), pa.large_binary(), pa.binary_view())
    return {
        field.name: "text" if field.type in text else "bytes" if field.type in data else str(field.type)
        for field in planned.columns.schema
    }


class KeptPartsDiffer(Event):
    """Kept parts were made on another type of device, with other versions, or with another block size."""

    name: ClassVar[str] = "kept_parts_differ"
    level: ClassVar[Level] = "warning"
    kept_with: dict[str, str | None]
    now_with: dict[str, str | None]
    reason: str = "kept parts may differ from new ones in the last bits; pass --force to rescore them"


def kept_part_differences(kept: Sequence[Mapping[str, str]], now: Mapping[str, str]) -> Iterator[Event]:
    """One event for each environment of kept parts that differs from the current one.

    Args:
        kept: the distinct environments (device, versions, block size) of kept parts.
        now: the environment of new parts.
    """
    for made_with in kept:
        names = sorted(name for name in {*made_with, *now} if made_with.get(name) != now.get(name))
        if names:
            yield KeptPartsDiffer(
                kept_with={name: made_with.get(name) for name in names},
                now_with={name: now.get(name) for name in names},
            )


class BlockRetried(Event):
    """The model failed on a whole block but passed in smaller pieces; for the first block of each kind of failure."""

    name: ClassVar[str] = "block_retried"
    level: ClassVar[Level] = "warning"
    partition: str
    first_row: int
    last_row: int
    reason: str


def block_retried(first: Retried) -> BlockRetried:
    """The event of the first block of a kind of failure."""
    return BlockRetried(
        partition=first.source, first_row=first.first_row, last_row=first.last_row, reason=retry_reason(first)
    )


class BlocksRetried(Event):
    """The number of blocks with one kind of failure, at the end of a run, if there were several."""

    name: ClassVar[str] = "blocks_retried"
    level: ClassVar[Level] = "warning"
    blocks: int
    rows: int
    reason: str


def blocks_retried(retries: Retries) -> Iterator[BlocksRetried]:
    """The totals of each kind of failure with several blocks."""
    for one in retries.kinds.values():
        if one.blocks > 1:
            yield BlocksRetried(blocks=one.blocks, rows=one.rows, reason=retry_reason(one))


def new_inputs(job: ScoreJob, found: Discovery) -> Iterator[Event]:
    """Inputs that have appeared since these were found. They are left for the next run. Those of a table are what they
    are at its version."""
    if found.table_version is not None:
        return
    try:
        now = discover(job.input, format=job.format).partitions
    except ScorelineError:  # the input is gone
        return
    known = {partition.name for partition in found.partitions}
    names = [partition.name for partition in now if partition.name not in known]
    if names:
        yield NewInputsFound(count=len(names), first=names[0])


class DriftSuspected(Event):
    """Rows differ somewhat from the bundle's reference, by more than chance; no column differs widely."""

    name: ClassVar[str] = "drift_suspected"
    #: Features and predictions that differ, in any file.
    columns: int
    #: Comparisons of a column in a file, or in all files, with a PSI from 0.25, and from 0.10.
    red: int
    yellow: int
    #: The files with the most drift, each with the PSI of its columns; or all files together, if none has drifted by
    #: itself.
    worst: list[str]
    #: What the rows are compared with: `training` rows or `golden` rows.
    reference: str
    #: The file with all columns, in the output.
    details: str


class DriftFound(DriftSuspected):
    """Rows differ widely from the bundle's reference, and by more than chance."""

    name: ClassVar[str] = "drift_found"
    level: ClassVar[Level] = "warning"


class DriftMeasured(Event):
    """The rows of the output were compared with the bundle's reference: by this run, or by the one that completed the
    output, if there is nothing to do."""

    name: ClassVar[str] = "drift_measured"
    level: ClassVar[Level] = "debug"
    #: For each baseline, `reference` and, after an earlier run, `previous`: the largest PSI above chance, with its
    #: column and its input (None: all rows), or a PSI of 0.
    worst: dict[str, dict[str, Any]]
    #: The columns with a PSI from 0.1 and above chance, with the largest: `column`, `role`, `against`, `psi`.
    columns: list[dict[str, Any]]

    @classmethod
    def of(cls, found: DriftSummary) -> DriftMeasured:
        """The event of a summary."""
        worst: dict[str, dict[str, Any]] = {
            "reference": {
                "psi": found.worst_psi or 0.0,
                "column": found.worst_column,
                "partition": found.worst_partition,
            }
        }
        if found.previous_run is not None:
            before = found.worst_from_previous
            nothing = {"psi": 0.0, "column": None, "partition": None}
            worst["previous"] = nothing if before is None else before.model_dump()
        return cls(worst=worst, columns=[one.model_dump() for one in found.columns])


class PartsUnprofiled(Event):
    """Kept parts were made without a profile, so that drift is computed from the other parts alone."""

    name: ClassVar[str] = "parts_unprofiled"
    count: int
    reason: str = "these parts were made with --no-profile, and are not compared; pass --force to rescore them"


class FeaturesUnprofiled(Event):
    """The bundle has more features than a profile has room for, so that drift is computed from the first alone."""

    name: ClassVar[str] = "features_unprofiled"
    count: int
    reason: str = "the last features are not compared; a profile has room for about 1,600 columns"


class ProfileImpossible(Event):
    """The bundle was saved without a reference."""

    name: ClassVar[str] = "profile_impossible"
    reason: str = "the bundle has no reference, so drift is not detected; save it again"
