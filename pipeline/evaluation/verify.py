"""Reads an output back and checks it against its own records: digests, page checksums, receipts, rows in and rows out,
and the order of the keys compared with the input if that still exists. Needs no model, and does not import torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...schemas.run import Receipt
from ..errors import PartitionError, UsageError, counted, listed, one_line
from ..inputs.discover import is_unchanged
from ..inputs.formats import recorded_format
from ..nested import converted, equal, take_rows
from ..outputs.assemble import reasons_of
from ..outputs.finished import why_incomplete
from ..outputs.manifest import read_manifest, read_record
from ..outputs.naming import rejects_name
from ..outputs.part_records import OutputRecord, PartitionRecord, PartRecord
from ..outputs.receipt import expected_name, file_digest, read_receipt
from ..outputs.storable import stored_type
from ..outputs.store import MANIFEST, PARTS, Store
from ..outputs.stores import open_store
from ..parquet.file import ParquetSource
from ..planning.fingerprint import dialect_of
from ..records import Partition
from ..storage.folders import listing_error
from ..storage.ranges import refuse_gone_service

BLOCK_ROWS = 1 << 16
#: What is both found and recorded: fields of run.json.
COUNTED = ("parts", "rows_in", "rows_scored", "rows_rejected")


@dataclass(kw_only=True, slots=True)
class Verdict:
    """The result. `keys_compared`: the inputs whose keys were compared with those of their parts;
    `changed_inputs`: those that have changed since they were scored, or are missing. `recorded`: the numbers of parts
    and rows in run.json. `problems`: one line each, naming the file; empty if the output is intact."""

    parts: int = 0
    rows_in: int = 0
    rows_scored: int = 0
    rows_rejected: int = 0
    recorded: dict[str, int] = field(default_factory=dict)
    keys_compared: int = 0
    changed_inputs: list[str] = field(default_factory=list)
    orphaned_parts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify(output: str) -> Verdict:
    """Check an output against its records.

    Raises:
        NoInputError: the folder is not an output of Scoreline.
        DataError: the run was killed before it wrote its run.json, or run.json was changed.
        StorageError: the service that the output or its input is in does not answer any more.
    """
    store = open_store(output, failed=listing_error)
    manifest = read_manifest(store)
    verdict = Verdict(recorded={name: getattr(manifest, name) for name in COUNTED})
    if (incomplete := why_incomplete(store, manifest)) is not None:
        verdict.problems.append(f"the run is not complete: {incomplete}")
    record = read_record(store, manifest)
    for partition in record.partitions:
        _verify_partition(store, partition, manifest.bundle.digest, verdict)
    parts_are_whole = not verdict.problems
    if parts_are_whole and verdict.recorded != {name: getattr(verdict, name) for name in COUNTED}:
        totals = tuple(verdict.recorded.values())
        verdict.problems.append(f"{MANIFEST}: its numbers of parts and rows {totals} are not those of the parts")
    _unrecorded_files(store, record, verdict, incomplete=incomplete is not None)
    return verdict


def _verify_partition(store: Store, record: PartitionRecord, bundle: str, verdict: Verdict) -> None:
    """Check the parts of an input: each is intact, and together they have all of its rows, in order."""
    if record.error is not None:
        verdict.problems.append(f"{record.source}: was not scored completely: {record.error}")
    receipts: list[Receipt] = []
    rejected: set[int] = set()
    for part in record.parts:
        receipt = _verified_part(store, part, verdict)
        numbers = None if receipt is None else _verify_rejects(store, part.target, receipt, verdict)
        if receipt is not None and numbers is not None:
            receipts.append(receipt)
            rejected |= numbers
    whole = record.error is None and len(receipts) == len(record.parts)
    if not whole or not _verify_range(record, receipts, bundle, verdict):
        return
    _verify_keys(store, record, receipts[0], rejected, verdict)


def _verify_range(record: PartitionRecord, receipts: list[Receipt], bundle: str, verdict: Verdict) -> bool:
    """Whether the parts contain the rows of their input from the first to the last, each exactly once."""
    row = 0
    for index, (part, receipt) in enumerate(zip(record.parts, receipts, strict=True)):
        mark = receipt.fingerprint
        if mark.bundle != bundle:
            verdict.problems.append(f"{part.target}: was scored by a bundle other than the one in {MANIFEST}")
            return False
        if mark.source != record.source:
            verdict.problems.append(f"{part.target}: contains rows of {mark.source}, not of {record.source}")
            return False
        if (mark.first_row, receipt.last) != (row, index == len(receipts) - 1):
            verdict.problems.append(
                f"{part.target}: its rows do not follow those of the part before it; is one missing?"
            )
            return False
        row += receipt.rows_in
    if not receipts:
        verdict.problems.append(f"{record.source}: has no part")
    return bool(receipts)


def _verified_part(store: Store, part: PartRecord, verdict: Verdict) -> Receipt | None:
    """The part's receipt; None if the part is damaged."""
    try:
        with store.local(part.target) as path:
            return _verify_part(path, part, verdict)
    except FileNotFoundError:
        verdict.problems.append(f"{part.target}: is missing; run again to rescore it")
    except OSError as error:
        refuse_gone_service(store.root, error)
        verdict.problems.append(f"{part.target}: cannot be read: {error.strerror or error}; check it, then run again")
    return None


def _verify_part(path: Path, part: PartRecord, verdict: Verdict) -> Receipt | None:
    name = part.target
    receipt = read_receipt(path)
    if not isinstance(receipt, Receipt):
        advice = "move it away" if receipt == "foreign" else "run again to rescore it"
        verdict.problems.append(f"{name}: is {receipt}; {advice}")
        return None
    verdict.parts += 1
    verdict.rows_in += receipt.rows_in
    verdict.rows_scored += receipt.rows_scored
    verdict.rows_rejected += receipt.rows_rejected
    if receipt.rows_in != receipt.rows_scored + receipt.rows_rejected:
        verdict.problems.append(
            f"{name}: the number of rows in, {receipt.rows_in:,}, is not the sum of rows scored and rejected"
        )
    recorded = (
        *(part.receipt, part.split, part.last, part.out_of_bounds, part.above_threshold),
        *(part.rows_in, part.rows_scored, part.rows_rejected, part.rejects is not None),
    )
    if recorded != _recorded(receipt) or name != expected_name(receipt):
        verdict.problems.append(f"{name}: its record in {PARTS} does not match its receipt")
    if part.sha256 != file_digest(path):
        verdict.problems.append(f"{name}: its sha256 is not the one in {PARTS}; delete it and run again to rescore it")
    try:
        rows = sum(batch.num_rows for batch in _batches(path, name, []))
    except PartitionError as error:
        verdict.problems.append(one_line(error))
        return None
    if rows != receipt.rows_scored:
        verdict.problems.append(
            f"{name}: contains {counted(rows, 'row')}, but its receipt says {receipt.rows_scored:,}"
        )
    return receipt


def _recorded(receipt: Receipt) -> tuple[object, ...]:
    rows = (receipt.rows_in, receipt.rows_scored, receipt.rows_rejected)
    counts = (receipt.out_of_bounds, receipt.above_threshold)
    return (receipt.checksum, receipt.split, receipt.last, *counts, *rows, receipt.rejects is not None)


def _verify_rejects(store: Store, name: str, receipt: Receipt, verdict: Verdict) -> set[int] | None:
    """The numbers of the rejected rows; None if the rejects are damaged."""
    if receipt.rejects is None:
        if store.kind(rejects_name(name)) != "missing":
            verdict.problems.append(f"{rejects_name(name)}: rejects that do not belong to any part")
        return set()
    try:
        with store.local(rejects_name(name)) as path:
            if file_digest(path) != receipt.rejects:
                verdict.problems.append(f"{rejects_name(name)}: does not match the receipt of {name}")
                return None
            with pa.ipc.open_file(str(path)) as reader:
                numbers = reasons_of(reader.read_all()).combine_chunks().field("row_number").to_pylist()
    except FileNotFoundError:
        verdict.problems.append(f"{rejects_name(name)}: is missing; run again to rescore {name}")
        return None
    except (OSError, pa.ArrowException) as error:
        refuse_gone_service(store.root, error)
        verdict.problems.append(f"{rejects_name(name)}: cannot be read back: {one_line(error)}")
        return None
    if len(numbers) != receipt.rows_rejected:
        verdict.problems.append(
            f"{rejects_name(name)}: contains {counted(len(numbers), 'row')}, but the receipt of {name} says"
            f" {receipt.rows_rejected:,}"
        )
    return set(numbers)


def _verify_keys(store: Store, record: PartitionRecord, receipt: Receipt, rejected: set[int], verdict: Verdict) -> None:
    """Check that the key columns of the parts equal those of their input, in order, without the rejected rows."""
    mark = receipt.fingerprint
    partition = Partition(
        path=record.path,
        name=record.source,
        format=record.format,
        size=mark.size,
        mtime_ns=mark.mtime_ns,
        etag=mark.etag,
    )
    if not _is_there(partition):
        verdict.changed_inputs.append(record.source)
        return
    dialect = dialect_of(mark)
    targets = [part.target for part in record.parts]
    try:
        with ParquetSource(store.path(targets[0]), name=targets[0]) as part:
            keys = part.names[: receipt.num_keys]
        if not keys:
            return
        format = recorded_format(partition.format)  # noqa: A001 - the usual name
        header, _ = format.read_schema(partition, dialect, keys)
        missing = [name for name in keys if header.names.count(name) != 1]
        if missing:
            verdict.problems.append(f"{targets[0]}: key {missing[0]!r} is not a column of {record.source}")
            return
        read = pa.schema([header.field(name) for name in keys])
        rows = format.read_rows(partition, read, header=header.names, dialect=dialect, block_rows=BLOCK_ROWS)
        wanted = _without((read.batch for read in rows), rejected)
        same = _same_rows((batch for name in targets for batch in _batches(store.path(name), name, keys)), wanted)
    except (PartitionError, OSError, pa.ArrowException) as error:
        for path in (store.root, partition.path):
            refuse_gone_service(path, error)
        verdict.problems.append(f"{record.source}: cannot be compared with its part: {one_line(error)}")
        return
    verdict.keys_compared += 1
    if not same:
        verdict.problems.append(f"{listed(targets)}: the keys are not those of {record.source} in the same order")


def _is_there(partition: Partition) -> bool:
    """Whether an input can still be compared."""
    try:
        return is_unchanged(partition)
    except UsageError:  # an object, and obstore is not installed here
        return False


def _batches(path: Path | str, name: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """A part's rows. With no columns named, reads all columns, so that every page is checked."""
    with ParquetSource(path, name=name) as source:
        yield from source.read_batches(columns or None, block_rows=BLOCK_ROWS)


def _without(batches: Iterator[pa.RecordBatch], rejected: set[int]) -> Iterator[pa.RecordBatch]:
    first, lost = 0, np.array(sorted(rejected), dtype=np.int64)
    for batch in batches:
        start, stop = np.searchsorted(lost, [first, first + batch.num_rows])
        kept = np.delete(np.arange(batch.num_rows), lost[start:stop] - first)
        first += batch.num_rows
        yield batch if start == stop else take_rows(batch, kept)


def _same_rows(one: Iterator[pa.RecordBatch], other: Iterator[pa.RecordBatch]) -> bool:
    """Whether two streams contain equal rows, regardless of batch sizes."""
    left: pa.RecordBatch | None = None
    right: pa.RecordBatch | None = None
    while True:
        left = _next(one) if left is None or not left.num_rows else left
        right = _next(other) if right is None or not right.num_rows else right
        if left is None or right is None:
            return left is None and right is None
        rows = min(left.num_rows, right.num_rows)
        for found, expected in zip(left.slice(0, rows).columns, right.slice(0, rows).columns, strict=True):
            if not equal(found, converted(expected, stored_type(expected.type))):
                return False
        left, right = left.slice(rows), right.slice(rows)


def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    return next((batch for batch in batches if batch.num_rows), None)


def _unrecorded_files(store: Store, record: OutputRecord, verdict: Verdict, *, incomplete: bool) -> None:
    """Check that every `.parquet` is a part of the run or a listed orphaned part, and that no temporaries are left. A
    run that did not end as it should may have published parts that it could not record any more."""
    known, orphaned = {part.target for part in record.parts()}, set(record.orphaned_parts)
    unrecorded = []
    for name in store.parquet_files():
        if name in orphaned:
            verdict.orphaned_parts.append(name)
        elif name not in known and incomplete and isinstance(read_receipt(store.path(name)), Receipt):
            unrecorded.append(name)
        elif name not in known:
            verdict.problems.append(f"{name}: is not a part of the run; move it out of the output")
    if unrecorded:
        verdict.problems.append(
            f"the run ended before it had recorded {counted(len(unrecorded), 'part')}, such as {unrecorded[0]}; the"
            " next run keeps or replaces them"
        )
    named = {rejects_name(name) for name in known.union(orphaned, unrecorded)}
    verdict.problems += [
        f"{name}: rejects that do not belong to any part; the next run removes them"
        for name in store.rejects_files()
        if name not in named
    ]
    verdict.problems += [
        f"{name}: is a temporary file of an earlier run; the next run removes it" for name in store.temporaries()
    ]
