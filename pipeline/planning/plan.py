"""The plan of a run: partitions, their columns, and the names of their outputs, before torch is imported or a row is
read. Combines `inputs` and `outputs`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter, thread_time

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ..bundle import stages
from ..bundle.columns import check_options
from ..errors import ColumnError, PartitionError, UsageError
from ..inputs.cut import SplitRange
from ..inputs.discover import Discovery
from ..inputs.formats import FORMATS
from ..options import ColumnOptions, ScoreJob
from ..outputs.naming import numbered, part_name, too_long, whole_name
from ..records import Partition, Split
from ..storage.ranges import refuse_gone_service
from ..storage.uris import absolute, is_remote
from .existing import ALL_SPLITS, ExistingParts, OwnSplits
from .file_columns import FileColumns, Shapes
from .immutable import refuse_replacing

#: Footers are small reads. Where they wait for the disk, or for an answer, several are read at once; where they are in
#: memory already, as the first of them show, one thread reads them in two thirds of the time of eight (measured).
FOOTER_THREADS, REMOTE_FOOTER_THREADS = 8, 32
#: Footers that a thread reads at a time, at most.
FOOTERS = 32


#: Rows of a split: as many as keep the multiplications of its forward passes below `SPLIT_WORK`, within these bounds. A
#: light model writes few, large files, yet enough of them for many cores (docs/decisions/0020-flows.md); a heavy one
#: loses about a minute of work when it is killed.
FEWEST_SPLIT_ROWS, MOST_SPLIT_ROWS, SPLIT_WORK = 1 << 16, 1 << 18, 1 << 39


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPartition:
    """One input with splits to score.

    `columns`: shared with all inputs that have the same ones. `num_rows`, `num_splits`: None where the format does not
    store the number of rows. `kept`: splits with an up-to-date part. `nothing_scored`: whether no row before the
    splits to score has been scored. `own`: the splits of this shard; None: all.
    """

    partition: Partition
    columns: FileColumns
    split_rows: int
    num_rows: int | None
    num_splits: int | None
    kept: frozenset[int]
    nothing_scored: bool
    own: range | None = None

    @property
    def hive(self) -> tuple[tuple[str, str | None], ...]:
        """The features from the path, with their values."""
        return tuple((key, value) for key, value in self.partition.hive if key in self.columns.hive)

    def splits(self) -> SplitRange:
        """The splits to score. Reading begins with the first of them, or with the first row of a CSV, which has no row
        index."""
        if self.num_splits is None:
            return SplitRange(0, None, self.kept)
        start, stop = (0, self.num_splits) if self.own is None else (self.own.start, self.own.stop)
        first = next(split for split in range(start, start + len(self.kept) + 1) if split not in self.kept)
        return SplitRange(first, stop, self.kept)

    def target(self, split: Split) -> str:
        """The part for a split."""
        return part_name(self.partition.name, split.index, several=not (split.index == 0 and split.last))

    def num_rows_to_score(self, kept_rows: int) -> int | None:
        """The number of rows of the splits to score; None where the number of rows of the file is unknown."""
        if self.num_rows is None:
            return None
        if self.own is None:
            return self.num_rows - kept_rows
        stop = min(self.num_rows, self.own.stop * self.split_rows)
        return stop - self.own.start * self.split_rows - kept_rows

    def num_splits_of_run(self) -> int | None:
        """The number of splits that this run scores or keeps; None where it is unknown."""
        return self.num_splits if self.own is None else len(self.own)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will do. `existing`: the output of earlier runs. `partitions`: the inputs with splits to score.
    `reasons`: why they are scored, with the number of splits. `failed`: the errors of inputs that cannot be read.
    `num_rows`: the rows to score, None where the number of rows of a file is unknown. `engines`: what computes the
    values of the bundle's optional stages, by stage. `shard_plan`: the digest of the division among shards."""

    discovery: Discovery
    existing: ExistingParts
    split_rows: int
    partitions: tuple[PlannedPartition, ...]
    reasons: Mapping[str, int]
    failed: tuple[PartitionError, ...]
    num_rows: int | None
    engines: Mapping[str, str] = field(default_factory=dict)
    shard_plan: str | None = None


def default_split_rows(weight_bytes: int) -> int:
    """How many rows are scored and published as one: a power of two that depends on the bundle alone.

    Args:
        weight_bytes: the size of the model's files; a forward pass multiplies about once per weight and row.
    """
    rows = SPLIT_WORK // max(1, weight_bytes // 4)
    return max(FEWEST_SPLIT_ROWS, min(MOST_SPLIT_ROWS, 1 << max(0, rows.bit_length() - 1)))


def make_plan(
    found: Discovery,
    existing: ExistingParts,
    manifest: BundleManifest,
    job: ScoreJob,
    split_rows: int,
    *,
    own: OwnSplits = ALL_SPLITS,
) -> Plan:
    """Check the columns of every partition that has splits to score, and name its outputs.

    Args:
        own: the splits of this shard, for inputs of which it has some.

    Raises:
        ColumnError: a column is missing, appears twice, has a wrong type, or has the name of an output.
        OutputError: a part that would be replaced was committed to a table.
        StorageError: the service that the inputs are in does not answer any more.
        UsageError: two inputs would have the same output, the name of one is too long for its parts, or no head of the
            bundle supports an option.
    """
    check_options(manifest, job.columns)
    for stage in stages.OPTIONAL:
        stage.refuse(manifest, job)
    planned, failed, shapes = [], [], Shapes(manifest, job)
    remaining = [partition for partition in found.partitions if partition not in existing.complete_inputs]
    refuse_replacing(existing, remaining, prune=job.prune)
    for partition, footer in zip(remaining, _footers(remaining, shapes, manifest, job), strict=True):
        if isinstance(footer, PartitionError):
            failed.append(footer)
            continue
        try:
            schema, num_rows = footer
            columns = shapes.columns(partition, schema)
            planned.append(_planned(partition, columns, num_rows, existing, split_rows, own.get(partition)))
        except ColumnError as error:
            raise _compared(error, planned) from error
    for entry in planned:
        _refuse_long_names(entry, absolute(job.output))
    refuse_same_output(found.partitions, {entry.partition: entry.num_splits for entry in planned}, existing)
    counts = [entry.num_rows_to_score(_kept_rows(existing, entry.partition)) for entry in planned]
    known = [count for count in counts if count is not None]
    return Plan(
        discovery=found,
        existing=existing,
        split_rows=split_rows,
        partitions=tuple(planned),
        reasons=_all_reasons(planned, existing),
        failed=tuple(failed),
        num_rows=sum(known) if len(known) == len(counts) else None,
        engines=stages.engines_of(manifest),
    )


Footer = tuple[pa.Schema, int | None] | PartitionError


def _footers(
    partitions: Sequence[Partition], shapes: Shapes, manifest: BundleManifest, job: ScoreJob
) -> Iterator[Footer]:
    """The columns and the number of rows of each input, or why it cannot be read."""
    columns = _named_columns(manifest, job.columns)

    def read(partition: Partition) -> Footer:
        try:
            schema, num_rows = FORMATS[partition.format].read_schema(partition, job.csv, columns)
        except PartitionError as error:
            refuse_gone_service(partition.path, error)
            return error
        return shapes.shared(schema), num_rows

    def read_all(some: Sequence[Partition]) -> list[Footer]:
        return [read(partition) for partition in some]

    if any(is_remote(partition.path) for partition in partitions[:1]):
        threads, size = REMOTE_FOOTER_THREADS, max(1, min(FOOTERS, len(partitions) // REMOTE_FOOTER_THREADS))
    else:
        start, computed = perf_counter(), thread_time()
        yield from read_all(partitions[:FOOTERS])
        waits = perf_counter() - start > 2 * (thread_time() - computed)
        partitions = partitions[FOOTERS:]
        threads, size = FOOTER_THREADS if waits else 1, FOOTERS
    tasks = [partitions[at : at + size] for at in range(0, len(partitions), size)]
    if threads == 1:
        for footers in map(read_all, tasks):
            yield from footers
        return
    with ThreadPoolExecutor(threads) as pool:
        for footers in pool.map(read_all, tasks):
            yield from footers


def _compared(error: ColumnError, others: Sequence[PlannedPartition]) -> ColumnError:
    """Add to the error for a column of a wrong type the name of another file in which its type is right."""
    for other in others:
        if error.column in other.columns.read.names:
            kind = other.columns.read.field(error.column).type
            return ColumnError(f"{error} (in {other.partition.name!r} it is {kind})", column=error.column)
    return error


def _kept_rows(existing: ExistingParts, partition: Partition) -> int:
    return sum(record.rows_in for record in existing.kept.get(partition, {}).values())


def _all_reasons(planned: Iterable[PlannedPartition], existing: ExistingParts) -> Counter[str]:
    reasons = Counter[str]()
    for entry in planned:
        reasons.update(_reasons(entry, existing))
    return reasons


def _reasons(planned: PlannedPartition, existing: ExistingParts) -> Counter[str]:
    """Why the splits of a partition must be scored, with the number of splits. A split without a part is missing,
    unless the parts of others are out of date. Splits are not enumerated, because a file may claim any number of rows.
    """
    reasons_by_split = existing.reasons.get(planned.partition, {})
    changed = list(
        dict.fromkeys(reason for reasons in reasons_by_split.values() for reason in reasons if "changed" in reason)
    )
    known = {split for split in reasons_by_split if split not in planned.kept}
    num_splits = planned.num_splits_of_run()
    if planned.num_splits is None or num_splits is None:  # for a CSV, the number is known only after reading
        others = 0 if known else 1
    else:
        known = {split for split in known if split < planned.num_splits}
        others = num_splits - len(known | {split for split in planned.kept if split < planned.num_splits})
    counted = Counter(reason for split in known for reason in reasons_by_split[split] or changed or ["missing"])
    counted.update(dict.fromkeys(changed or ["missing"], others) if others else {})
    return counted


def _named_columns(manifest: BundleManifest, options: ColumnOptions) -> set[str] | None:
    """The columns that will be read; None for all."""
    if options.keys is None:
        return None
    return {*(feature.name for feature in manifest.features), *options.keys}


def _planned(
    partition: Partition,
    columns: FileColumns,
    num_rows: int | None,
    existing: ExistingParts,
    split_rows: int,
    own: range | None,
) -> PlannedPartition:
    kept = existing.kept.get(partition, {})
    return PlannedPartition(
        partition=partition,
        columns=columns,
        split_rows=split_rows,
        num_rows=num_rows,
        num_splits=None if num_rows is None else max(1, -(-num_rows // split_rows)),
        kept=frozenset(kept),
        nothing_scored=(own is None or own.start == 0) and not any(record.rows_scored for record in kept.values()),
        own=own,
    )


def refuse_same_output(
    partitions: Sequence[Partition], num_splits: Mapping[Partition, int | None], existing: ExistingParts | None = None
) -> None:
    """Raise UsageError for two inputs with the same output, or an input whose output is also a split of another.

    Args:
        num_splits: by input; None where it is unknown.
    """
    existing = existing or ExistingParts()
    owners: dict[str, Partition] = {}
    for partition in partitions:
        first = owners.setdefault(whole_name(partition.name), partition)
        if first != partition:
            raise _same_output(first, partition, whole_name(partition.name))
    for name, partition in owners.items():
        whole, split = numbered(name) or ("", 0)
        other = owners.get(whole)
        if other is None:
            continue
        count = len(existing.kept[other]) if other in existing.complete_inputs else num_splits.get(other, 1)
        if count is None or (count > 1 and split < count):  # the number of splits of a CSV is unknown
            raise _same_output(other, partition, name)


def _refuse_long_names(planned: PlannedPartition, root: str) -> None:
    """Raise UsageError for an input whose parts would have names longer than a file system allows."""
    partition, splits = planned.partition, planned.num_splits
    if splits is None:
        most_rows = FORMATS[partition.format].most_rows(partition)
        splits = 2 if most_rows is None else 1 + most_rows // planned.split_rows
    part = part_name(partition.name, splits - 1, several=splits > 1)
    if (problem := too_long(root, part)) is not None:
        raise UsageError(f"input {partition.name!r}: its part {part!r} would have {problem}; rename the input")


def _same_output(one: Partition, other: Partition, target: str) -> UsageError:
    return UsageError(f"inputs {one.name!r} and {other.name!r} would both be written to {target!r}; rename one")
