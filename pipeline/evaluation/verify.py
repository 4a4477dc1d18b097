"""Read an output back and hold it against its own accounts: digests, page checksums, receipts, rows in against rows
out, and the order of the keys against the input where that is still there. Needs no model and no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ...schemas.run import PartitionRecord, PartRecord, Receipt, RunManifest
from ..errors import PartitionError, one_line
from ..inputs.discover import is_unchanged
from ..inputs.formats import FORMATS
from ..nested import converted, equal, take_rows
from ..outputs.assemble import reasons_of
from ..outputs.manifest import read_manifest
from ..outputs.naming import rejects_name
from ..outputs.receipt import expected_name, file_digest, read_receipt
from ..outputs.storable import stored_type
from ..outputs.store import MANIFEST, SUCCESS, Store
from ..parquet.file import ParquetSource
from ..planning.fingerprint import dialect_of
from ..records import Partition
from ..storage.folders import listing_error

BLOCK_ROWS = 1 << 16


@dataclass(kw_only=True, slots=True)
class Verdict:
    """What was found. `problems`: one line each, naming the file; none means that everything is right."""

    parts: int = 0
    rows_in: int = 0
    rows_scored: int = 0
    rows_rejected: int = 0
    keys_compared: int = 0
    inputs_gone: int = 0
    orphaned_parts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify(output: str) -> Verdict:
    """Check everything that an output says of itself.

    Raises:
        NoInputError: no run has been here.
        DataError: a run has been here, and was killed before it could tell of itself; or what it has told was changed.
    """
    store = Store(output, failed=listing_error)
    manifest = read_manifest(store)
    verdict = Verdict(orphaned_parts=[])
    if manifest.status != "success" or store.kind(SUCCESS) != "file":
        why = manifest.error or ("it was killed, or goes on" if manifest.status == "running" else "no _SUCCESS")
        verdict.problems.append(f"the run is not complete ({why}); run it again")
    for record in manifest.partitions:
        _verify_partition(store, record, manifest.bundle.digest, verdict)
    parts_are_whole = not verdict.problems
    totals = (manifest.rows_in, manifest.rows_scored, manifest.rows_rejected)
    if parts_are_whole and totals != (verdict.rows_in, verdict.rows_scored, verdict.rows_rejected):
        verdict.problems.append(f"{MANIFEST}: its rows {totals} are not the sum of its parts")
    _unrecorded_files(store, manifest, verdict)
    return verdict


def _verify_partition(store: Store, record: PartitionRecord, bundle: str, verdict: Verdict) -> None:
    """The parts of an input: each whole, together all of its rows, in its order."""
    if record.error is not None:
        verdict.problems.append(f"{record.source}: was not scored to its end: {record.error}")
    receipts: list[Receipt] = []
    rejected: set[int] = set()
    for part in record.parts:
        verdict.parts += 1
        receipt = _verify_part(store, part, verdict)
        numbers = None if receipt is None else _verify_rejects(store, part.target, receipt, verdict)
        if receipt is not None and numbers is not None:
            receipts.append(receipt)
            rejected |= numbers
    summed = [
        sum(rows) for rows in zip(*((p.rows_in, p.rows_scored, p.rows_rejected) for p in record.parts), strict=True)
    ]
    if record.parts and summed != [record.rows_in, record.rows_scored, record.rows_rejected]:
        verdict.problems.append(f"{MANIFEST}: the rows of {record.source} are not the sum of its parts")
    whole = record.error is None and len(receipts) == len(record.parts)
    if not whole or not _verify_range(record, receipts, bundle, verdict):
        return
    _verify_keys(store, record, receipts[0], rejected, verdict)


def _verify_range(record: PartitionRecord, receipts: list[Receipt], bundle: str, verdict: Verdict) -> bool:
    """Whether the parts hold the rows of their input from the first to the last, each once."""
    row = 0
    for place, (part, receipt) in enumerate(zip(record.parts, receipts, strict=True)):
        mark = receipt.fingerprint
        if mark.bundle != bundle:
            verdict.problems.append(f"{part.target}: was made by another bundle than {MANIFEST} names")
            return False
        if mark.source != record.source:
            verdict.problems.append(f"{part.target}: holds rows of {mark.source}, not of {record.source}")
            return False
        if (mark.first_row, receipt.last) != (row, place == len(receipts) - 1):
            verdict.problems.append(f"{part.target}: its rows do not follow those of the part before it")
            return False
        row += receipt.rows_in
    if not receipts:
        verdict.problems.append(f"{record.source}: has no part")
    return bool(receipts)


def _verify_part(store: Store, part: PartRecord, verdict: Verdict) -> Receipt | None:
    """Its receipt, None where the part cannot be believed."""
    name, path = part.target, store.path(part.target)
    receipt = read_receipt(path)
    if not isinstance(receipt, Receipt):
        advice = "move it away" if receipt == "foreign" else "run again to make it anew"
        verdict.problems.append(f"{name}: is {receipt}; {advice}")
        return None
    verdict.rows_in += receipt.rows_in
    verdict.rows_scored += receipt.rows_scored
    verdict.rows_rejected += receipt.rows_rejected
    if receipt.rows_in != receipt.rows_scored + receipt.rows_rejected:
        verdict.problems.append(f"{name}: {receipt.rows_in} rows in are not those scored and rejected")
    said = (
        *(part.receipt, part.split, part.last, part.out_of_bounds),
        *(part.rows_in, part.rows_scored, part.rows_rejected, part.rejects is not None),
    )
    if said != _told(receipt) or name != expected_name(receipt):
        verdict.problems.append(f"{name}: {MANIFEST} says otherwise of it than its receipt")
    if part.sha256 != file_digest(path):
        verdict.problems.append(
            f"{name}: its sha256 is not the one in {MANIFEST}; run again with --force to make it anew"
        )
    try:
        rows = sum(batch.num_rows for batch in _batches(store, name, []))
    except PartitionError as error:
        verdict.problems.append(one_line(error))
        return None
    if rows != receipt.rows_scored:
        verdict.problems.append(f"{name}: holds {rows} rows, and its receipt says {receipt.rows_scored}")
    return receipt


def _told(receipt: Receipt) -> tuple[object, ...]:
    rows = (receipt.rows_in, receipt.rows_scored, receipt.rows_rejected)
    return (receipt.checksum, receipt.split, receipt.last, receipt.out_of_bounds, *rows, receipt.rejects is not None)


def _verify_rejects(store: Store, name: str, receipt: Receipt, verdict: Verdict) -> set[int] | None:
    """The numbers of the rejected rows, None where they cannot be believed."""
    path = store.path(rejects_name(name))
    if receipt.rejects is None:
        if store.kind(rejects_name(name)) != "missing":
            verdict.problems.append(f"{rejects_name(name)}: rejects that no receipt names")
        return set()
    try:
        if file_digest(path) != receipt.rejects:
            verdict.problems.append(f"{rejects_name(name)}: is not the file that the receipt of {name} names")
            return None
        with pa.ipc.open_file(str(path)) as reader:
            numbers = reasons_of(reader.read_all()).combine_chunks().field("row_number").to_pylist()
    except (OSError, pa.ArrowException) as error:
        verdict.problems.append(f"{rejects_name(name)}: cannot be read back: {one_line(error)}")
        return None
    if len(numbers) != receipt.rows_rejected:
        verdict.problems.append(f"{rejects_name(name)}: {len(numbers)} rows, and {receipt.rows_rejected} were rejected")
    return set(numbers)


def _verify_keys(store: Store, record: PartitionRecord, receipt: Receipt, rejected: set[int], verdict: Verdict) -> None:
    """The key columns of the parts are those of their input, in order, without the rejected rows."""
    mark = receipt.fingerprint
    partition = Partition(
        path=record.path,
        name=record.source,
        format=record.format,
        size=mark.size,
        mtime_ns=mark.mtime_ns,
    )
    if not is_unchanged(partition):
        verdict.inputs_gone += 1
        return
    dialect = dialect_of(mark)
    targets = [part.target for part in record.parts]
    try:
        with ParquetSource(store.path(targets[0]), name=targets[0]) as part:
            keys = part.names[: receipt.num_keys]
        if not keys:
            return
        format = FORMATS[partition.format]  # noqa: A001 - what it is called everywhere
        header, _ = format.read_schema(partition, dialect, keys)
        missing = [name for name in keys if header.names.count(name) != 1]
        if missing:
            verdict.problems.append(f"{targets[0]}: key {missing[0]!r} is not a column of {record.source}")
            return
        read = pa.schema([header.field(name) for name in keys])
        rows = format.read_rows(partition, read, header=header.names, dialect=dialect, block_rows=BLOCK_ROWS)
        wanted = _without((read.batch for read in rows), rejected)
        same = _same_rows((batch for name in targets for batch in _batches(store, name, keys)), wanted)
    except (PartitionError, OSError, pa.ArrowException) as error:
        verdict.problems.append(f"{record.source}: cannot be compared with its part: {one_line(error)}")
        return
    verdict.keys_compared += 1
    if not same:
        verdict.problems.append(f"{', '.join(targets)}: the keys are not those of {record.source}, in that order")


def _batches(store: Store, name: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """A part's rows; without columns named all of them, so that every page is checked."""
    with ParquetSource(store.path(name), name=name) as source:
        yield from source.read_batches(columns or None, block_rows=BLOCK_ROWS)


def _without(batches: Iterator[pa.RecordBatch], rejected: set[int]) -> Iterator[pa.RecordBatch]:
    first, lost = 0, np.array(sorted(rejected), dtype=np.int64)
    for batch in batches:
        start, stop = np.searchsorted(lost, [first, first + batch.num_rows])
        kept = np.delete(np.arange(batch.num_rows), lost[start:stop] - first)
        first += batch.num_rows
        yield batch if start == stop else take_rows(batch, kept)


def _same_rows(one: Iterator[pa.RecordBatch], other: Iterator[pa.RecordBatch]) -> bool:
    """Whether two streams hold equal rows, whatever their batches."""
    left: pa.RecordBatch | None = None
    right: pa.RecordBatch | None = None
    while True:
        left = _next(one) if left is None or not left.num_rows else left
        right = _next(other) if right is None or not right.num_rows else right
        if left is None or right is None:
            return left is None and right is None
        rows = min(left.num_rows, right.num_rows)
        for mine, theirs in zip(left.slice(0, rows).columns, right.slice(0, rows).columns, strict=True):
            if not equal(mine, converted(theirs, stored_type(theirs.type))):
                return False
        left, right = left.slice(rows), right.slice(rows)


def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    return next((batch for batch in batches if batch.num_rows), None)


def _unrecorded_files(store: Store, manifest: RunManifest, verdict: Verdict) -> None:
    """Every `.parquet` is a part of the run or a listed orphaned part; nothing temporary is left."""
    known = {part.target for record in manifest.partitions for part in record.parts}
    for name in store.parquet_files():
        if name in manifest.orphaned_parts:
            verdict.orphaned_parts.append(name)
        elif name not in known:
            verdict.problems.append(f"{name}: is no part of the run")
    named = {rejects_name(name) for name in known | set(manifest.orphaned_parts)}
    verdict.problems += [
        f"{name}: rejects that no part names; the next run removes them"
        for name in store.rejects_files()
        if name not in named
    ]
    verdict.problems += [f"{name}: was left behind; the next run removes it" for name in store.temporaries()]
