"""What is there and what is to be done: partitions, their columns, and the names of their outputs, all of it
known before torch is imported or a row is read. Joins `inputs` and `outputs`.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ..schemas.bundle import BundleManifest
from .errors import ColumnError, OutputError, PartitionError, UsageError
from .inputs import csv, parquet
from .inputs.check import check_columns
from .inputs.discover import Discovery, refuse_address
from .outputs.assemble import output_schema
from .records import ColumnOptions, Partition, ScoreJob, Split
from .resume import Standing, rejects_of, target_of
from .tasks.columns import output_fields

#: Footers are small reads that wait for the disk: a few at once.
FOOTER_THREADS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedSplit:
    """One split, the columns to read for it, and where its rows go.

    `header`: every column of the file; `read`: those that are read, with their types; `hive`: feature columns
    that come from the path; `text`: columns whose text is read as numbers; `schema`: the rows to be written.
    """

    split: Split
    num_rows: int | None
    read: pa.Schema
    header: tuple[str, ...]
    hive: tuple[tuple[str, str | None], ...]
    text: frozenset[str]
    schema: pa.Schema
    target: str
    rejects: str

    @property
    def read_with_hive(self) -> pa.Schema:
        """The columns that blocks come with: those that are read, and features from the path."""
        return pa.schema([*self.read, *(pa.field(key, pa.string()) for key, _ in self.hive)])

    @property
    def partition(self) -> Partition:
        """The input file."""
        return self.split.partition


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will do. `standing`: what earlier runs have done; `failed`: partitions that cannot be read, with the
    error; `num_rows`: of what remains, None where a file does not say how many it has."""

    discovery: Discovery
    standing: Standing
    splits: tuple[PlannedSplit, ...]
    failed: tuple[PartitionError, ...]
    num_rows: int | None


def make_plan(found: Discovery, standing: Standing, manifest: BundleManifest, options: ColumnOptions) -> Plan:
    """Look at the columns of every partition that has no part yet, and name its output.

    Raises:
        ColumnError: a column is missing, doubled, of a wrong kind, or has the name of an output.
        UsageError: two inputs would meet in one output.
    """
    _refuse_meeting(found.partitions)
    splits, failed = [], []
    remaining = [partition for partition in found.partitions if partition not in standing.kept]
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        footers = pool.map(_footer, remaining)
        for partition, footer in zip(remaining, footers, strict=True):
            if isinstance(footer, PartitionError):
                failed.append(footer)
            else:
                splits.append(_planned(partition, *footer, manifest, options))
    counts = [planned.num_rows for planned in splits]
    known = [count for count in counts if count is not None]
    return Plan(
        discovery=found,
        standing=standing,
        splits=tuple(splits),
        failed=tuple(failed),
        num_rows=sum(known) if len(known) == len(counts) else None,
    )


def refuse_overlap(found: Discovery, job: ScoreJob) -> None:
    """No output may be read as input by this run or the next, nor lie over it.

    Raises:
        OutputError: the output lies within the input, or the other way round.
        UsageError: the output is no local path.
    """
    refuse_address(job.output, "output")
    if not job.output.strip():
        raise UsageError("the output is an empty path; name a folder with --output")
    output, where = Path(os.path.realpath(job.output)), Path(os.path.realpath(found.root))
    searched = Path(job.input).is_dir() or "**" in job.input
    if searched and (output == where or where in output.parents or output in where.parents):
        raise OutputError(
            f"output {job.output!r} and input {job.input!r} lie within each other; choose an --output beside it"
        )
    for partition in found.partitions:
        if output in Path(os.path.realpath(partition.path)).parents:
            raise OutputError(
                f"input {partition.path!r} lies within the output {job.output!r}; choose another --output"
            )


def _footer(partition: Partition) -> tuple[pa.Schema, int | None] | PartitionError:
    try:
        if partition.format == "csv":
            return csv.read_header(partition), None
        return parquet.read_footer(partition)
    except PartitionError as error:
        return error


def _planned(
    partition: Partition,
    schema: pa.Schema,
    num_rows: int | None,
    manifest: BundleManifest,
    options: ColumnOptions,
) -> PlannedSplit:
    features = [feature.name for feature in manifest.features]
    hive = tuple((key, value) for key, value in partition.hive if key in features and key not in schema.names)
    whole = pa.schema([*schema, *(pa.field(key, pa.string()) for key, _ in hive)])
    text = frozenset(schema.names if partition.format == "csv" else ()) | {key for key, _ in hive}
    check_columns(whole, manifest.features, text=text, source=partition.name)
    keys = list(_keys(partition, schema, set(features), options))
    read = [name for name in schema.names if name in {*features, *keys}]
    fields = output_fields(manifest, options)
    _refuse_hive_clash(partition, [options.prefix + field.name for field in fields])
    target = target_of(partition)
    return PlannedSplit(
        split=Split(partition=partition),
        num_rows=num_rows,
        header=tuple(schema.names),
        read=pa.schema([schema.field(name) for name in read]),
        hive=hive,
        text=text,
        schema=output_schema(
            pa.schema([schema.field(name) for name in keys]), fields, options.prefix, source=partition.name
        ),
        target=target,
        rejects=rejects_of(target),
    )


def _keys(partition: Partition, schema: pa.Schema, features: set[str], options: ColumnOptions) -> Iterator[str]:
    """The columns carried through, in the order of the file, or as they were named. A Hive key is carried by
    the path, which the output mirrors."""
    times = Counter(schema.names)
    wanted = [name for name in schema.names if name not in features]
    if options.keys is not None:
        wanted = [name for name in options.keys if name in times or name not in dict(partition.hive)]
    for name in wanted:
        if name not in times:
            there = ", ".join(repr(name) for name in list(times)[:8])
            raise ColumnError(f"{partition.name}: key column {name!r} is missing; there are {there}")
        if times[name] > 1:
            raise ColumnError(
                f"{partition.name}: column {name!r} stands {times[name]} times and cannot be carried through;"
                " name the keys to keep with --keys"
            )
        yield name


def _refuse_hive_clash(partition: Partition, outputs: Sequence[str]) -> None:
    taken = [key for key, _ in partition.hive if key in outputs]
    if taken:
        raise ColumnError(
            f"{partition.name}: the folder {taken[0]!r}= is also the name of an output, and readers would see it"
            " twice; add --prefix NAME_"
        )


def _refuse_meeting(partitions: Sequence[Partition]) -> None:
    homes: dict[str, str] = {}
    for partition in partitions:
        first = homes.setdefault(target_of(partition), partition.name)
        if first != partition.name:
            raise UsageError(
                f"inputs {first!r} and {partition.name!r} would both be written to {target_of(partition)!r}; rename one"
            )
