"""The events of a run. `docs/reference/events.md` lists all events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ..events import Emitter, Event, Level

if TYPE_CHECKING:
    from ...schemas.run import RunManifest, StageTotals
    from ..bundle.bundle import Bundle
    from ..cores import Cores
    from ..options import ScoreJob
    from ..outputs.part_file import PartFile
    from ..planning.plan import Plan
    from ..records import Partition, Split
    from ..scoring.scorer import Scorer
    from ..storage.lease import Waiting
    from ..timing import StageTime


class RunStarted(Event):
    """The run is planned: what it will score, and what it keeps of earlier runs."""

    name: ClassVar[str] = "run_started"
    input: str
    output: str
    partitions: int
    split_rows: int
    #: Splits whose part is up to date.
    kept: int
    #: Number of splits to score, by reason.
    to_score: dict[str, int]
    #: Rows of the splits to score; None if a file does not record how many it has.
    rows: int | None
    ignored: int
    cores: int
    cores_limited_by: str

    @classmethod
    def of(cls, job: ScoreJob, plan: Plan, cores: Cores) -> RunStarted:
        """The event of a plan."""
        return cls(
            input=job.input,
            output=job.output,
            partitions=len(plan.discovery.partitions),
            split_rows=plan.split_rows,
            kept=plan.existing.num_kept(),
            to_score=dict(sorted(plan.reasons.items())),
            rows=plan.num_rows,
            ignored=len(plan.discovery.ignored),
            cores=cores.count,
            cores_limited_by=cores.limited_by,
        )


class LockAwaited(Event):
    """The lock of an output in an object store belongs to a process that may have died; it is taken over unless that is
    seen to be alive."""

    name: ClassVar[str] = "lock_awaited"
    holder: str
    seconds: float


def waiting_for_lock(emit: Emitter) -> Waiting:
    """Reports that a lock is waited for."""
    return lambda holder, seconds: emit(LockAwaited(holder=holder, seconds=seconds))


class NothingToDo(Event):
    """The output is complete and up to date; nothing was touched."""

    name: ClassVar[str] = "nothing_to_do"
    partitions: int
    rows: int
    rejected: int
    #: The id of the run that completed it.
    made_by: str
    bundle: str
    digest: str

    @classmethod
    def of(cls, manifest: RunManifest, partitions: int) -> NothingToDo:
        """The event of a complete output."""
        return cls(
            partitions=partitions,
            rows=manifest.rows_in,
            rejected=manifest.rows_rejected,
            made_by=manifest.run_id,
            bundle=manifest.bundle.path,
            digest=manifest.bundle.digest,
        )


class BundleLoaded(Event):
    """The model is on its device and has reproduced the golden rows."""

    name: ClassVar[str] = "bundle_loaded"
    bundle: str
    digest: str
    device: str
    #: The models of the GPUs, in order.
    cards: list[str]
    batch_rows: int
    pass_rows: int
    batch_reason: str
    folded_layers: int
    dropped_layers: int
    compiled: bool
    golden_rows: int
    golden_source: str
    golden_largest_difference: float

    @classmethod
    def of(cls, job: ScoreJob, bundle: Bundle, scorer: Scorer) -> BundleLoaded:
        """The event of a scorer that has replayed its golden rows."""
        golden = scorer.golden
        return cls(
            bundle=bundle.name,
            digest=bundle.digest,
            device=scorer.device_name,
            cards=[one.card for one in scorer.devices if one.card is not None],
            batch_rows=scorer.block_rows,
            pass_rows=scorer.members.pass_rows,
            batch_reason=scorer.block_reason,
            folded_layers=scorer.loaded.folded,
            dropped_layers=scorer.loaded.dropped,
            compiled=job.compile and scorer.not_compiled is None,
            golden_rows=golden.rows,
            golden_source=golden.source,
            golden_largest_difference=golden.largest_difference,
        )


class ModelNotCompiled(Event):
    """torch.compile failed, or the golden rows were not reproduced, so the model runs uncompiled."""

    name: ClassVar[str] = "model_not_compiled"
    level: ClassVar[Level] = "warning"
    reason: str


class TemporariesRemoved(Event):
    """Temporary files of a killed run were removed."""

    name: ClassVar[str] = "temporaries_removed"
    count: int
    first: str


class OrphanedPartsRemoved(Event):
    """With `--prune`: parts whose input is gone were removed."""

    name: ClassVar[str] = "orphaned_parts_removed"
    count: int
    first: str


class ScoringStarted(Event):
    """Everything is loaded and checked; reading begins. Also emitted if every part is kept."""

    name: ClassVar[str] = "scoring_started"
    level: ClassVar[Level] = "debug"
    #: Rows to score; None if a file does not record how many it has.
    rows: int | None


class BlockWritten(Event):
    """The rows of one block were written to their part file or its rejects."""

    name: ClassVar[str] = "block_written"
    level: ClassVar[Level] = "debug"
    rows: int


class SplitPublished(Event):
    """A split has been scored, and its part is visible to readers. The first of small files that share a block has the
    times of all of them."""

    name: ClassVar[str] = "split_published"
    partition: str
    split: int
    #: Whether the partition has no later split.
    last: bool
    rows: int
    rejected: int
    #: For each stage: `busy_s`, `waiting_s`, `rows`, `bytes`.
    stages: dict[str, dict[str, float]]

    @classmethod
    def of(cls, partition: Partition, split: Split, part: PartFile, stages: Mapping[str, StageTime]) -> SplitPublished:
        """The event of a part file that was published."""
        return cls(
            partition=partition.name,
            split=split.index,
            last=split.last,
            rows=part.num_rows + part.num_rejects,
            rejected=part.num_rejects,
            stages=_rounded(stages),
        )


class PartitionFailed(Event):
    """An input file could not be read completely; the others are scored."""

    name: ClassVar[str] = "partition_failed"
    level: ClassVar[Level] = "error"
    partition: str
    reason: str


class OutOfMemory(Event):
    """The device ran out of memory; the same rows are retried in smaller batches."""

    name: ClassVar[str] = "out_of_memory"
    level: ClassVar[Level] = "warning"
    rows_at_once: int | None
    reason: str = (
        "the device ran out of memory: blocks are halved, and values may differ in the last bits; pass a smaller"
        " --batch-size to avoid this"
    )


class ManifestNotWritten(Event):
    """The run failed, and run.json could not be written either."""

    name: ClassVar[str] = "manifest_not_written"
    level: ClassVar[Level] = "error"
    reason: str


class HistoryNotWritten(Event):
    """The line of the run could not be appended to history.jsonl; its output is not affected."""

    name: ClassVar[str] = "history_not_written"
    level: ClassVar[Level] = "warning"
    reason: str


class RunRecorded(Event):
    """The outcome of the run is on disk, but for _SUCCESS, or it has failed before it scored; its output is locked."""

    name: ClassVar[str] = "run_recorded"
    level: ClassVar[Level] = "debug"
    output: str


class RunEnded(Event):
    """The run succeeded; run.json and _SUCCESS are written."""

    name: ClassVar[str] = "run_ended"
    status: str
    rows: int
    rejected: int
    out_of_bounds: int
    #: Rows that a regression with a threshold flags.
    above_threshold: int
    seconds: float
    #: Rows that this run has read, without those of kept parts.
    rows_per_s: int
    startup_s: float
    #: For each stage: `busy_s`, `waiting_s`, `rows`, `bytes`.
    stages: dict[str, dict[str, float]]
    #: A sentence that names the stages that the run waited for most.
    verdict: str

    @classmethod
    def of(cls, manifest: RunManifest) -> RunEnded:
        """`RunEnded` or `RunFailed`, by the manifest's status."""
        kind = RunEnded if manifest.status == "success" else RunFailed
        return kind(
            status=manifest.status,
            rows=manifest.rows_in,
            rejected=manifest.rows_rejected,
            out_of_bounds=manifest.rows_out_of_bounds,
            above_threshold=manifest.rows_above_threshold,
            seconds=round(manifest.wall_s, 3),
            rows_per_s=round((manifest.rows_in - manifest.rows_kept) / max(manifest.wall_s, 1e-9)),
            startup_s=round(manifest.startup_s, 3),
            stages=_rounded(manifest.stages),
            verdict=manifest.verdict,
        )


class RunFailed(RunEnded):
    """The run failed or was interrupted; published parts are kept, and there is no _SUCCESS."""

    name: ClassVar[str] = "run_failed"
    level: ClassVar[Level] = "error"


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
