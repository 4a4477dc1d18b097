"""Divides the work of a job among shards, once, for all of its processes: `_scoreline/shards/plan.pq`. Does not import
torch.

Shards get equal shares of the input's bytes: the largest pieces first, each to the lightest shard (longest processing
time first; Graham 1969: at most 4/3 of the best division). A piece is a file, or some of the splits of a large file.
The plan lists every input with its size and time, so that a file that arrives later changes nothing.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from ..arrays import batch_of
from ..errors import DataError, PartitionError, one_line
from ..inputs.discover import Discovery
from ..inputs.formats import FORMATS
from ..inputs.hive import hive_keys
from ..options import ScoreJob
from ..outputs.naming import numbered, whole_name
from ..records import Partition
from ..storage.ranges import refuse_gone_service
from .plan import refuse_same_output

#: A file is divided if it has more than this share of a shard's bytes, and its pieces have at most this much.
MOST_OF_A_SHARD = 1 / 8
#: Rows that are encoded at a time.
ROWS = 1 << 16
_KEY = b"scoreline.shards"
_SCHEMA = pa.schema([
    ("source", pa.string()),
    ("format", pa.string()),
    ("size", pa.int64()),
    ("mtime_ns", pa.int64()),
    ("etag", pa.string()),
    ("first_split", pa.int32()),
    ("stop_split", pa.int32()),
    ("shard", pa.int32()),
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some splits of an input, or all where `splits` is None, and the number of the shard that scores them."""

    partition: Partition
    splits: range | None
    shard: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardedJob:
    """What is divided. `job`: its options; `root`: the real path that the names of inputs are relative to; `bundle`:
    its digest; `count`: the number of shards; `table_version`: of the table that the input is, None for files."""

    job: ScoreJob
    root: str
    bundle: str
    split_rows: int
    count: int
    table_version: str | None = None


_SHARDED_JOB = TypeAdapter(ShardedJob)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """The division of a job. `pieces`: in the order of inputs and splits; those of a file that belong to one shard are
    consecutive."""

    sharded: ShardedJob
    pieces: Sequence[Piece]

    def partitions(self) -> tuple[Partition, ...]:
        """Every input, by name."""
        return tuple(dict.fromkeys(piece.partition for piece in self.pieces))

    def of_shard(self, number: int) -> dict[Partition, range | None]:
        """The inputs of a shard, with its splits of each; None: all splits."""
        own: dict[Partition, range | None] = {}
        for piece in self.pieces:
            if piece.shard == number:
                before, splits = own.get(piece.partition), piece.splits
                if before is not None and splits is not None:
                    splits = range(before.start, splits.stop)
                own[piece.partition] = splits
        return own


def divide(found: Discovery, job: ScoreJob, split_rows: int, count: int) -> list[Piece]:
    """The pieces of every input, with their shards. Depends on the files alone, not on who divides them."""
    share = sum(partition.size for partition in found.partitions) / count
    pieces = [(partition, splits) for partition in found.partitions
              for splits in _cut(partition, job, split_rows, share * MOST_OF_A_SHARD)]  # fmt: skip
    weights = [_weight(partition, splits) for partition, splits in pieces]
    loads, shards = [(0.0, number) for number in range(1, count + 1)], [0] * len(pieces)
    for index in sorted(range(len(pieces)), key=lambda index: -weights[index]):
        load, shards[index] = loads[0]
        heapreplace(loads, (load + weights[index], shards[index]))
    by_file: dict[Partition, list[int]] = {}
    for (partition, _), shard in zip(pieces, shards, strict=True):
        by_file.setdefault(partition, []).append(shard)
    # The pieces of a file have about the same size, so they may be exchanged: then a shard reads them in one go.
    in_order = [shard for numbers in by_file.values() for shard in sorted(numbers)]
    return [
        Piece(partition=partition, splits=None if splits is None else splits.own, shard=shard)
        for (partition, splits), shard in zip(pieces, in_order, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Some of the splits of a file, and how many it has."""

    own: range
    num_splits: int


def _weight(partition: Partition, splits: _Cut | None) -> float:
    return partition.size * (1.0 if splits is None else len(splits.own) / splits.num_splits)


def refuse_same_outputs(found: Discovery, job: ScoreJob, split_rows: int) -> None:
    """Raise UsageError for two inputs with the same output, or an input whose output is also a split of another."""
    by_output = {whole_name(partition.name): partition for partition in found.partitions}
    wholes = {parsed[0] for name in by_output if (parsed := numbered(name)) is not None}
    doubtful = [by_output[whole] for whole in wholes if whole in by_output]
    refuse_same_output(found.partitions, {one: _num_splits(one, job, split_rows) for one in doubtful})


def _num_splits(partition: Partition, job: ScoreJob, split_rows: int) -> int | None:
    """How many splits a file has; None if its format does not say how many rows it has.

    Raises:
        PartitionError: it cannot be read.
    """
    _, num_rows = FORMATS[partition.format].read_schema(partition, job.csv, set())
    return None if num_rows is None else max(1, -(-num_rows // split_rows))


def _cut(partition: Partition, job: ScoreJob, split_rows: int, most_bytes: float) -> list[_Cut | None]:
    """The pieces of a file: about as many as it takes for none to have more than `most_bytes`. They begin at row groups
    if there are enough of these: within one, a reader decodes the rows before."""
    wanted = int(partition.size / most_bytes) + 1 if most_bytes else 1
    if wanted == 1:
        return [None]
    try:
        if (num_splits := _num_splits(partition, job, split_rows)) is None:
            return [None]
        starts = {-(-row // split_rows) for row in FORMATS[partition.format].starts(partition)}
    except PartitionError as error:  # its shard reports it
        refuse_gone_service(partition.path, error)
        return [None]
    ranges = divide_splits(num_splits, starts, wanted)
    return [_Cut(one, num_splits) for one in ranges] if len(ranges) > 1 else [None]


def divide_splits(num_splits: int, starts: Iterable[int], wanted: int) -> list[range]:
    """Divide the splits of a file into about `wanted` equal ranges.

    Args:
        starts: the splits at which a reader can begin without decoding rows in vain; the ranges begin there if there
            are enough of them.
    """
    begins = sorted({0, *(split for split in starts if split < num_splits)})
    found = {0}
    for number in range(1, min(wanted, num_splits)):
        ideal = number * num_splits / min(wanted, num_splits)
        found.add(_nearest(begins, ideal) if len(begins) >= wanted else round(ideal))
    return [range(start, stop) for start, stop in pairwise([*sorted(found), num_splits])]


def _nearest(begins: Sequence[int], ideal: float) -> int:
    after = bisect_left(begins, ideal)
    return min(begins[max(0, after - 1) : after + 1], key=lambda begin: abs(begin - ideal))


def encode_plan(plan: ShardPlan) -> bytes:
    """The bytes of the file."""
    metadata = {_KEY: _SHARDED_JOB.dump_json(plan.sharded)}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, _SCHEMA.with_metadata(metadata), compression="zstd", write_page_checksum=True
    ) as writer:
        for at in range(0, len(plan.pieces), ROWS):
            rows = [_row(piece) for piece in plan.pieces[at : at + ROWS]]
            writer.write_batch(batch_of(rows, writer.schema))
    return bytes(sink.getvalue())


def decode_plan(data: bytes) -> ShardPlan:
    """The plan in the bytes of the file. Raises DataError if it is not one of this version."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        metadata = table.schema.metadata or {}
        if not table.schema.equals(_SCHEMA) or _KEY not in metadata:
            raise DataError("it is not a plan of this version")
        sharded = _SHARDED_JOB.validate_json(metadata[_KEY])
    except (OSError, pa.ArrowException, ValidationError) as error:
        raise DataError(one_line(error)) from error
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return ShardPlan(sharded=sharded, pieces=list(_pieces(rows, sharded.root)))


def _pieces(rows: Iterable[tuple[Any, ...]], root: str) -> Iterator[Piece]:
    partition = None
    for source, file_format, size, mtime_ns, etag, first, stop, shard in rows:
        if partition is None or partition.name != source:
            partition = Partition(
                path=os.path.join(root, source),  # noqa: PTH118 - text
                name=source,
                format=file_format,
                size=size,
                mtime_ns=mtime_ns,
                etag=etag,
                hive=tuple(hive_keys(source)),
            )
        yield Piece(partition=partition, splits=None if first is None else range(first, stop), shard=shard)


def _row(piece: Piece) -> dict[str, Any]:
    partition, splits = piece.partition, piece.splits
    return {
        "source": partition.name,
        "format": partition.format,
        "size": partition.size,
        "mtime_ns": partition.mtime_ns,
        "etag": partition.etag,
        "first_split": None if splits is None else splits.start,
        "stop_split": None if splits is None else splits.stop,
        "shard": piece.shard,
    }
