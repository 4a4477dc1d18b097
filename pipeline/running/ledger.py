"""The accounts of a run: the outcome of every partition and row, and the manifest that records it. Does not score
rows."""

import platform
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ...schemas.run import BundleRecord, DriftSummary, HeadRecord, RunManifest, ShardRecord, StageTotals
from ..bundle import stages
from ..bundle.bundle import Bundle
from ..errors import PartitionError, counted, rejects_error
from ..options import ScoreJob
from ..outputs.assemble import described, reasons_of
from ..outputs.part_records import OutputRecord, PartitionRecord, PartRecord
from ..planning.fingerprint import recorded_options
from ..planning.option_table import OPTIONS
from ..planning.plan import Plan
from ..records import Partition
from ..scoring.line import LineOptions, stage_names
from ..timing import StageTimes, verdict
from .manifest import device_records, head_records, versions
from .profiles import PartProfiles

if TYPE_CHECKING:
    from ..model.devices import Device
    from .events import BundleLoaded


#: Names of ignored files that the manifest has.
MAX_NAMES = 100


@dataclass(kw_only=True, slots=True)
class RunClock:
    """When a run began, and the times of its stages."""

    start_s: float = field(default_factory=perf_counter)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    times: StageTimes = field(default_factory=StageTimes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Accounts:
    """What a worker has counted in some splits. `parts`, `errors`: by the name of the input; `profiles`: by receipt."""

    parts: dict[str, list[PartRecord]]
    errors: dict[str, str]
    rejected: int
    first_reject: dict[str, Any] | None
    times: StageTimes
    profiles: dict[str, bytes]


@dataclass(kw_only=True)
class Ledger:
    """Counts rows during a run: rows in = rows scored + rows rejected. All flows share it."""

    job: ScoreJob
    plan: Plan
    bundle: BundleRecord
    device: str
    block_rows: int
    compiled: bool
    versions: dict[str, str]
    heads: list[HeadRecord]
    stage_names: tuple[str, ...]
    clock: RunClock
    startup_s: float
    devices: "Sequence[Device]" = ()
    shards: list[ShardRecord] = field(default_factory=list)
    parts: dict[Partition, list[PartRecord]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    rejected: int = 0
    first_reject: dict[str, Any] | None = None
    drift: DriftSummary | None = None
    profiles: PartProfiles = field(default_factory=PartProfiles)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def made_with(self) -> dict[str, str]:
        """Device, versions and options that may change the last bits of a part."""
        how = {"device": self.device.partition(":")[0], "batch_rows": str(self.block_rows)}
        if self.job.compile:
            how["compiled"] = "yes" if self.compiled else "no"
        switches = [one.target for one in OPTIONS if one.switch and one.effect == "last bits"]
        how |= {name: "on" for name in switches if getattr(self.job, name)}
        return {**how, **self.versions}

    def reject(self, rejects: pa.RecordBatch) -> None:
        """Count rejects, and remember the first of the run, by file and row, so far.

        Raises:
            RowsRejectedError: there are more than allowed.
        """
        with self._lock:
            if rejects.num_rows:
                self._add_first_reject(reasons_of(rejects)[0].as_py())
                self.rejected += rejects.num_rows
            self._enforce_reject_budget(self.num_rows)

    def _add_first_reject(self, first: dict[str, Any]) -> None:
        if self.first_reject is None or self._place(first) < self._place(self.first_reject):
            self.first_reject = first

    def _place(self, reject: dict[str, Any]) -> tuple[int, int]:
        return self._order[reject["source"]], reject["row_number"]

    @cached_property
    def _order(self) -> dict[str, int]:
        return {partition.name: place for place, partition in enumerate(self.plan.discovery.partitions)}

    @cached_property
    def num_rows(self) -> int | None:
        """The rows of the whole run, including kept parts; None if a file does not record how many it has."""
        if self.plan.num_rows is None or self.job.shard is not None:  # a share is of the rows of all shards
            return None
        kept = sum(part.rows_in for parts in self.plan.existing.kept.values() for part in parts.values())
        return self.plan.num_rows + kept

    def _enforce_reject_budget(self, num_rows: int | None) -> None:
        """Stop the run as soon as there are more rejects than allowed.

        Args:
            num_rows: the rows of the whole run; None while unknown: a percentage is then checked at the end.

        Raises:
            RowsRejectedError: names the first row that was rejected, and its column.
        """
        budget, first = self.job.max_rejects, self.first_reject
        if budget.count is None and num_rows is None:
            return
        if self.rejected > budget.allowed(num_rows or 0):
            where = f"{first['source']}: row {first['row_number']}: {described(first)}; " if first else ""
            rejected = f"{where}{counted(self.rejected, 'row')} rejected, {budget.of(num_rows)} allowed"
            raise rejects_error(rejected + ("" if first else self._kept_rejects()), self.errors.values())

    def _kept_rejects(self) -> str:
        """Names the file with the rejects of an earlier run."""
        files = [part.rejects for parts in self.parts.values() for part in parts if part.rejects]
        return f" (the first are in {files[0]!r})" if files else ""

    def keep_existing(self) -> None:
        """Add every part that is kept from earlier runs."""
        for partition, parts in self.plan.existing.kept.items():
            for record in parts.values():
                self.keep(partition, record)

    def keep(self, partition: Partition, record: PartRecord) -> None:
        """Add a kept part; its rejects count as well."""
        self.parts.setdefault(partition, []).append(record)
        self.rejected += record.rows_rejected

    def publish(self, partition: Partition, record: PartRecord) -> None:
        """Add a published part."""
        with self._lock:
            self.parts.setdefault(partition, []).append(record)

    def fail(self, error: PartitionError, *, rejected: int = 0) -> bool:
        """Add a partition that could not be read completely; the rejects of its current split no longer count. Returns
        False if it had failed before."""
        with self._lock:
            self.rejected -= rejected
            first = error.partition not in self.errors
            self.errors.setdefault(error.partition, str(error))
            return first

    def add_times(self, times: StageTimes) -> None:
        """Add stage times of a split."""
        with self._lock:
            self.clock.times.add(times)

    def accounts(self) -> Accounts:
        """What has been counted, for the ledger of the whole run in another process."""
        return Accounts(
            parts={partition.name: parts for partition, parts in self.parts.items()},
            errors=self.errors,
            rejected=self.rejected,
            first_reject=self.first_reject,
            times=self.clock.times,
            profiles=self.profiles.all(),
        )

    def add_accounts(self, counted: Accounts, share: float) -> list[PartitionError]:
        """Add what a worker has counted. Returns the errors of inputs that had not failed before.

        Args:
            share: the share of the run that waited while the worker did.
        """
        for name, parts in counted.parts.items():
            self.parts.setdefault(self.plan.discovery.partitions[self._order[name]], []).extend(parts)
        self.profiles.add_all(counted.profiles)
        if counted.first_reject is not None:
            self._add_first_reject(counted.first_reject)
        self.rejected += counted.rejected
        for spent in counted.times.stages.values():
            spent.waiting_s *= share
        self.add_times(counted.times)
        errors = [PartitionError(reason, partition=name) for name, reason in counted.errors.items()]
        return [error for error in errors if self.fail(error)]

    def check_reject_budget(self) -> None:
        """Check the rejects so far. Raises RowsRejectedError where there are more than allowed."""
        with self._lock:
            self._enforce_reject_budget(self.num_rows)

    def check_final_limits(self) -> None:
        """Check the limits of the whole run: all partitions were read, and the rejects are within the budget.

        Raises:
            PartitionError: names the first partition that could not be read.
            RowsRejectedError: names the first row that was rejected.
        """
        if self.errors:
            name, reason = min(self.errors.items(), key=lambda one: self._order[one[0]])
            count, total = len(self.errors), len(self.plan.discovery.partitions)
            others = "; the others are published" if count < total else ""
            text = f"{reason} ({count} of {total} inputs could not be read{others})"
            if "cannot be read as" in reason and "; " not in reason:
                step = "make such files readable" if "[Errno" in reason else "replace or remove such files"
                text += f"; {step}, then run again"
            raise PartitionError(text, partition=name)
        rows = sum(record.rows_in for parts in self.parts.values() for record in parts)
        self._enforce_reject_budget(rows if self.job.shard is None else None)

    def record(self) -> OutputRecord:
        """The outcome of every input so far, by name, as written to `_scoreline/parts.pq`."""
        partitions = [
            PartitionRecord(
                source=partition.name,
                path=partition.path,
                format=partition.format,
                parts=sorted(self.parts.get(partition, ()), key=lambda part: part.split),
                error=self.errors.get(partition.name),
            )
            for partition in self.plan.discovery.partitions
            if partition in self.parts or partition.name in self.errors
        ]
        return OutputRecord(partitions=partitions, orphaned_parts=self.plan.existing.orphaned_parts)

    def manifest(self, error: BaseException | None, *, ended: bool = True) -> RunManifest:
        """The run so far, as written to `_scoreline/run.json`."""
        wall_s = perf_counter() - self.clock.start_s
        spent_by_stage = self.clock.times.summary(self.stage_names)
        ignored = self.plan.discovery.ignored
        return RunManifest(
            run_id=self.job.run_id,
            status="failed" if error else "success" if ended else "running",
            error=str(error) if error else None,
            started=self.clock.started.isoformat(timespec="milliseconds"),
            ended=datetime.now(UTC).isoformat(timespec="milliseconds"),
            input=self.job.input,
            shard=None if self.job.shard is None else str(self.job.shard),
            shard_plan=self.plan.shard_plan,
            shards=self.shards,
            root=self.plan.discovery.real_root,
            table_version=self.plan.discovery.table_version,
            roots=self.plan.existing.roots,
            output=self.job.output,
            options={**recorded_options(self.job), "batch_rows": self.block_rows, "split_rows": self.plan.split_rows},
            versions={"python": platform.python_version(), **self.versions},
            device=self.device,
            devices=device_records(self.devices, wall_s),
            bundle=self.bundle,
            inputs=len({partition.name for partition in self.parts} | self.errors.keys()),
            inputs_failed=len(self.errors),
            **_totals(part for parts in self.parts.values() for part in parts),
            orphaned_parts=len(self.plan.existing.orphaned_parts),
            ignored=len(ignored),
            first_ignored=list(ignored[:MAX_NAMES]),
            heads=self.heads,
            wall_s=wall_s,
            startup_s=self.startup_s,
            other_s=wall_s - self.startup_s - sum(spent.waiting_s for spent in spent_by_stage.values()),
            stages={
                name: StageTotals(busy_s=spent.busy_s, waiting_s=spent.waiting_s, rows=spent.rows, bytes=spent.bytes)
                for name, spent in spent_by_stage.items()
            },
            verdict=verdict(spent_by_stage, self.startup_s, wall_s),
            drift=self.drift,
        )


def open_ledger(
    job: ScoreJob,
    plan: Plan,
    bundle: Bundle,
    loaded: "BundleLoaded | None",
    clock: RunClock,
    devices: "Sequence[Device]" = (),
) -> Ledger:
    """The ledger of a run that is about to score; the time so far counts as start-up.

    Args:
        loaded: how the bundle was loaded; None: nothing is to be scored.
        devices: those of this process that score.
    """
    names = stage_names(bundle.manifest, LineOptions.of(job))
    return Ledger(
        job=job,
        plan=plan,
        bundle=BundleRecord(
            path=bundle.name,
            digest=bundle.digest,
            golden_rows=loaded.golden_rows if loaded else None,
            golden_source=loaded.golden_source if loaded else None,
            golden_largest_difference=loaded.golden_largest_difference if loaded else None,
        ),
        device=loaded.device if loaded else "none",
        devices=devices,
        block_rows=loaded.batch_rows if loaded else 0,
        heads=head_records(bundle.manifest, job.columns),
        stage_names=names,
        versions=versions(packages_of(names) if loaded is not None else ()),
        compiled=loaded is not None and loaded.compiled,
        clock=clock,
        startup_s=perf_counter() - clock.start_s - clock.times["discover"].waiting_s,
    )


def _totals(parts: Iterable[PartRecord]) -> dict[str, int]:
    """The number of parts, of their rows, and of those that were kept, by field of the manifest."""
    totals = Counter[str]()
    for part in parts:
        totals["parts"] += 1
        totals["rows_in"] += part.rows_in
        totals["rows_scored"] += part.rows_scored
        totals["rows_rejected"] += part.rows_rejected
        totals["rows_out_of_bounds"] += part.out_of_bounds
        totals["rows_above_threshold"] += part.above_threshold
        if part.kept:
            totals["parts_kept"] += 1
            totals["rows_kept"] += part.rows_in
            totals["rows_scored_kept"] += part.rows_scored
    return {name: totals[name] for name in ("parts", "rows_in", "rows_scored", "rows_rejected")} | totals


def packages_of(names: Collection[str]) -> Iterator[str]:
    """The packages that the optional stages among these use."""
    for stage in stages.OPTIONAL:
        if stage.name in names:
            yield from stage.packages
