"""The accounts of a run: what became of every partition and row, and the manifest that says so. Knows nothing
of how rows are scored."""

import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from typing import Any

import pyarrow as pa

from ..schemas.run import BundleRecord, PartitionRecord, RunManifest, StageTotals
from .errors import PartitionError, RowsRejectedError
from .outputs.assemble import REJECT_COLUMN, described
from .plan import Plan, PlannedSplit
from .records import ScoreJob
from .timing import StageTimes, verdict

LIBRARIES = ("scoreline", "torch", "numpy", "pyarrow")


def versions() -> dict[str, str]:
    """The versions of what computes."""
    return {name: version(name) for name in LIBRARIES}


@dataclass(kw_only=True)
class Ledger:
    """Rows in = rows scored + rows rejected, kept as the run goes."""

    job: ScoreJob
    plan: Plan
    bundle: BundleRecord
    device: str
    block_rows: int
    times: StageTimes
    start_s: float
    startup_s: float
    started: datetime
    partitions: list[PartitionRecord] = field(default_factory=list)
    rejected: int = 0
    first_reject: dict[str, Any] | None = None

    def reject(self, rejects: pa.RecordBatch) -> None:
        """Count rejects, and remember the first of the run."""
        if rejects.num_rows and self.first_reject is None:
            self.first_reject = rejects.column(REJECT_COLUMN)[0].as_py()
        self.rejected += rejects.num_rows

    def num_rows(self) -> int | None:
        """The rows of the whole run, those of kept parts included; None where a file does not say how many it has."""
        kept = sum(record.rows_in for record in self.plan.standing.kept.values())
        return None if self.plan.num_rows is None else kept + self.plan.num_rows

    def hold_budget(self, num_rows: int | None) -> None:
        """Stop the run as soon as there are more rejects than it allows.

        Args:
            num_rows: the rows of the whole run; None as long as they are not known, and a share is not held
                against them before the end.

        Raises:
            RowsRejectedError: names the first row that was rejected, and its column.
        """
        budget, first = self.job.max_rejects, self.first_reject
        if budget.count is None and num_rows is None:
            return
        if self.rejected > budget.allowed(num_rows or 0):
            where = "" if first is None else f"{first['source']}: row {first['row_number']}: {described(first)}; "
            raise RowsRejectedError(
                f"{where}{self.rejected} rows rejected, {budget} allowed; mend the input, or allow more with"
                " --max-rejects 100 or 1%"
            )

    def keep(self, record: PartitionRecord) -> None:
        """Enter a part that stands; its rejects count, too."""
        self.partitions.append(record)
        self.rejected += record.rows_rejected

    def publish(self, planned: PlannedSplit, *, scored: int, rejected: int, sha256: str) -> PartitionRecord:
        """Enter a published split."""
        record = PartitionRecord(
            source=planned.partition.name,
            path=planned.partition.path,
            target=planned.target,
            sha256=sha256,
            rows_in=scored + rejected,
            rows_scored=scored,
            rows_rejected=rejected,
            rejects=planned.rejects if rejected else None,
        )
        self.partitions.append(record)
        return record

    def fail(self, error: PartitionError, *, target: str = "", rejected: int = 0) -> None:
        """Enter a partition that could not be read; its rejects so far no longer count."""
        self.rejected -= rejected
        self.partitions.append(PartitionRecord(source=error.partition, target=target, error=str(error)))

    def failures(self) -> list[PartitionRecord]:
        """The partitions that could not be read."""
        return [record for record in self.partitions if record.error]

    def manifest(self, error: Exception | None) -> RunManifest:
        """The run as it stands, as `_scoreline/run.json` tells it."""
        wall_s = perf_counter() - self.start_s
        stages = self.times.summary()
        rows_scored = sum(record.rows_scored for record in self.partitions)
        rows_rejected = sum(record.rows_rejected for record in self.partitions)
        columns = self.job.columns
        return RunManifest(
            run_id=self.job.run_id,
            status="failed" if error else "success",
            error=str(error) if error else None,
            started=self.started.isoformat(timespec="milliseconds"),
            ended=datetime.now(UTC).isoformat(timespec="milliseconds"),
            input=self.job.input,
            output=self.job.output,
            options={
                "keys": "all" if columns.keys is None else ",".join(columns.keys) or "none",
                "prefix": columns.prefix,
                "probabilities": columns.probabilities,
                "format": self.job.format,
                "batch_rows": self.block_rows,
                "max_rejects": str(self.job.max_rejects),
            },
            versions={"python": platform.python_version(), **versions()},
            device=self.device,
            bundle=self.bundle,
            partitions=sorted(self.partitions, key=lambda record: record.source),
            ignored=list(self.plan.discovery.ignored),
            orphans=self.plan.standing.orphans,
            rows_in=rows_scored + rows_rejected,
            rows_scored=rows_scored,
            rows_rejected=rows_rejected,
            wall_s=wall_s,
            startup_s=self.startup_s,
            other_s=wall_s - self.startup_s - sum(spent.waiting_s for spent in stages.values()),
            stages={
                name: StageTotals(busy_s=spent.busy_s, waiting_s=spent.waiting_s, rows=spent.rows, bytes=spent.bytes)
                for name, spent in stages.items()
            },
            verdict=verdict(stages, self.startup_s, wall_s),
        )
