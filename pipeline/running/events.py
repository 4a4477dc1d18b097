"""Who is told how a run goes, and what they are told: the events of the log. Knows nothing of how they are
shown."""

from collections.abc import Mapping
from typing import Any, Protocol

from ...schemas.run import RunManifest, StageTotals
from ..cores import Cores
from ..errors import PartitionError
from ..inputs.discover import Discovery
from ..options import ScoreJob
from ..outputs.part_file import PartFile
from ..planning.existing import ExistingParts
from ..planning.plan import Plan
from ..records import Partition, Split
from ..scoring.retries import Retried, Retries, in_words
from ..timing import StageTime

#: How many names an event lists.
MOST_NAMED = 5


class Watcher(Protocol):
    """Who is told how a run goes: a log, a progress bar. Told from one thread."""

    def start(self, num_rows: int | None) -> None:
        """The plan stands; `num_rows` is None where the files do not say."""

    def advance(self, rows: int) -> None:
        """So many more rows are scored or rejected."""

    def event(self, name: str, /, **fields: Any) -> None:
        """Something worth a log line."""


class Silent:
    """A watcher that tells nobody."""

    def start(self, num_rows: int | None) -> None: ...
    def advance(self, rows: int) -> None: ...
    def event(self, name: str, /, **fields: Any) -> None: ...


def say_plan(watcher: Watcher, job: ScoreJob, plan: Plan, cores: Cores) -> None:
    """What is about to be done, and what earlier runs have done; orphaned parts are a warning."""
    existing = plan.existing
    if existing.manifest_error is not None:
        watcher.event("manifest_unreadable", level="warning", reason=existing.manifest_error)
    if existing.orphaned_parts and not job.prune:
        watcher.event(
            "orphaned_parts",
            level="warning",
            count=len(existing.orphaned_parts),
            first=existing.orphaned_parts[0],
            reason="parts of an earlier run whose input is not among this one's stay, and readers will see them;"
            " remove them with --prune",
        )
    if existing.foreign_files:
        watcher.event(
            "foreign_files",
            count=len(existing.foreign_files),
            first=existing.foreign_files[0],
            reason="files in the output that are not scoreline's are left as they are",
        )
    watcher.event(
        "run_start",
        input=job.input,
        output=job.output,
        partitions=len(plan.discovery.partitions),
        split_rows=plan.split_rows,
        kept=existing.num_kept(),
        to_score=dict(sorted(plan.reasons.items())),
        rows=plan.num_rows,
        ignored=len(plan.discovery.ignored),
        cores=cores.count,
        cores_limited_by=cores.limited_by,
    )


def say_found(watcher: Watcher, found: Discovery) -> None:
    """What was met on the way to the inputs: links that lead back, and Parquet files that are no input by their
    suffix."""
    if found.loops:
        watcher.event(
            "link_loops",
            level="warning",
            count=len(found.loops),
            links=list(found.loops[:MOST_NAMED]),
            reason="links to a folder that they lie in are not followed; every other link is",
        )
    if found.ignored_parquet:
        watcher.event(
            "parquet_ignored",
            level="warning",
            count=len(found.ignored_parquet),
            files=list(found.ignored_parquet[:MOST_NAMED]),
            reason="these begin as Parquet files do, and are no input by their suffix: rename them to .parquet, or pass"
            " --format parquet, which takes every file",
        )


def say_mixed(watcher: Watcher, existing: ExistingParts, made_with: Mapping[str, str] | None) -> None:
    """Parts that are kept were made on another kind of device, with other versions or blocks: the same values, but for
    their last bits."""
    others = [] if made_with is None else [kept for kept in existing.made_with if kept != made_with]
    for kept in others:
        names = sorted(name for name in {*kept, *(made_with or {})} if kept.get(name) != (made_with or {}).get(name))
        watcher.event(
            "mixed",
            level="warning",
            kept_with={name: kept.get(name) for name in names},
            now_with={name: (made_with or {}).get(name) for name in names},
            reason="kept parts may differ from new ones in the last bits; --force makes all of them anew",
        )


def say_swept(watcher: Watcher, names: list[str]) -> None:
    """A run that was killed left temporaries, which are gone now."""
    if names:
        watcher.event("temporaries_removed", count=len(names), first=names[0])


def say_halved(watcher: Watcher, rows: int | None) -> None:
    """The device has run out of memory; the same rows were tried again, fewer at a time."""
    watcher.event(
        "out_of_memory",
        level="warning",
        rows_at_once=rows,
        reason="the device ran out of memory: blocks are halved, and values may differ in their last bits; a smaller"
        " --batch-size avoids it",
    )


def say_retried(watcher: Watcher, one: Retried) -> None:
    """A block failed as a whole and passed in pieces; the first of its kind."""
    watcher.event(
        "retried",
        level="warning",
        partition=one.source,
        first_row=one.first_row,
        last_row=one.last_row,
        reason=in_words(one),
    )


def say_all_retried(watcher: Watcher, retries: Retries) -> None:
    """How many such blocks there were, where they were several of a kind."""
    for one in retries.kinds.values():
        if one.blocks > 1:
            watcher.event("retried_in_all", level="warning", blocks=one.blocks, rows=one.rows, reason=in_words(one))


def say_new_inputs(watcher: Watcher, names: list[str]) -> None:
    """Files that came while the run went on."""
    if names:
        watcher.event("new_inputs", level="warning", count=len(names), first=names[0], reason="left for the next run")


def say_nothing_to_do(watcher: Watcher, manifest: RunManifest) -> None:
    """Every part stands, and so does `_SUCCESS`."""
    watcher.event("nothing_to_do", partitions=len(manifest.partitions), rows=manifest.rows_in, made_by=manifest.run_id)


def say_failed(watcher: Watcher, error: PartitionError) -> None:
    watcher.event("partition_failed", level="error", partition=error.partition, reason=str(error))


def say_split(
    watcher: Watcher, partition: Partition, split: Split, part: PartFile, stages: Mapping[str, StageTime]
) -> None:
    watcher.event(
        "split_end",
        partition=partition.name,
        split=split.index,
        rows=part.num_rows + part.num_rejects,
        rejected=part.num_rejects,
        stages=_rounded(stages),
    )


def say_end(watcher: Watcher, manifest: RunManifest) -> None:
    watcher.event(
        "run_end",
        level="info" if manifest.status == "success" else "error",
        status=manifest.status,
        rows=manifest.rows_in,
        rejected=manifest.rows_rejected,
        out_of_bounds=manifest.rows_out_of_bounds,
        seconds=round(manifest.wall_s, 3),
        rows_per_s=round(manifest.rows_in / max(manifest.wall_s, 1e-9)),
        startup_s=round(manifest.startup_s, 3),
        stages=_rounded(manifest.stages),
        verdict=manifest.verdict,
    )


def _rounded(stages: Mapping[str, StageTime | StageTotals]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "busy_s": round(spent.busy_s, 6),
            "waiting_s": round(spent.waiting_s, 6),
            "rows": spent.rows,
            "bytes": spent.bytes,
        }
        for name, spent in stages.items()
    }
