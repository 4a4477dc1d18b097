"""The rows that two outputs have in common, in blocks: those with the same input and row number, whatever their splits
and rejects, or those with the same key. Independent of what is compared."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.run import Receipt
from ..arrays import to_arrow, to_numpy
from ..errors import DataError, PartitionError, UsageError, listed, one_line
from ..inputs.formats import recorded_format
from ..joins import Keys, comparable
from ..outputs.assemble import reasons_of
from ..outputs.receipt import input_content, read_receipt
from ..outputs.store import Store
from ..parquet.file import ParquetSource
from ..plain import plain
from .parts import OutputPart


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of two outputs. `columns`: those to read, in the order of the comparison."""

    store: Store
    parts: tuple[OutputPart, ...]
    columns: tuple[str, ...]

    def by_source(self) -> dict[str, list[OutputPart]]:
        """The parts of each input."""
        found: dict[str, list[OutputPart]] = {}
        for part in self.parts:
            found.setdefault(part.source, []).append(part)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignedRows:
    """Rows of one input that both outputs have. `where`: the row numbers, int64 `[rows]`, or the keys. `first`,
    `second`: the columns of each output."""

    source: str
    where: NDArray[np.int64] | pa.Array
    first: pa.RecordBatch
    second: pa.RecordBatch


@dataclass(kw_only=True, slots=True)
class Unmatched:
    """The scored rows and the inputs that only one of two outputs has."""

    first_rows: int = 0
    second_rows: int = 0
    first_sources: list[str] = field(default_factory=list)
    second_sources: list[str] = field(default_factory=list)


def align_by_row(first: Side, second: Side, unmatched: Unmatched) -> Iterator[AlignedRows]:
    """The rows with the same input and row number, in order. Holds one block of each output.

    Raises:
        DataError: the outputs have no input in common, or were made from different versions of one; a part is damaged.
    """
    ours, theirs = first.by_source(), second.by_source()
    if not ours.keys() & theirs.keys():
        raise DataError(
            f"the outputs have no input in common (first {listed([*ours][:1])} and {listed([*theirs][:1])}); pass --on"
            " KEY to align their rows by a key column"
        )
    for source, parts in ours.items():
        if source not in theirs:
            unmatched.first_sources.append(source)
            unmatched.first_rows += sum(part.rows_scored for part in parts)
            continue
        _refuse_other_input(first.store, parts[0], second.store, theirs[source][0])
        for where, one, other in _merged(_blocks(first, parts), _blocks(second, theirs[source]), unmatched):
            yield AlignedRows(source=source, where=where, first=one, second=other)
    for source, parts in theirs.items():
        if source not in ours:
            unmatched.second_sources.append(source)
            unmatched.second_rows += sum(part.rows_scored for part in parts)


def align_by_key(first: Side, second: Side, on: str, unmatched: Unmatched) -> Iterator[AlignedRows]:
    """The rows with the same value in the key column `on`, in the order of the first output; no block is empty. Holds
    the compared columns of both outputs. Rows without a key have no counterpart.

    Raises:
        UsageError: a part has no such column.
        DataError: keys of types that cannot be compared exactly, or a key that appears twice; a part is damaged.
    """
    ours, theirs = _table(first, on), _table(second, on)
    one, other = comparable(_keys(first, ours, on), _keys(second, theirs, on))
    for side, keys in ((first, one), (second, other)):
        _refuse_duplicates(side, keys, on)
    found = pc.index_in(one, value_set=other, skip_nulls=True)
    there = to_numpy(found.is_valid())
    unmatched.first_rows = len(one) - int(there.sum())
    unmatched.second_rows = len(other) - int(there.sum())
    start, where = 0, plain(ours.column(on))
    for part in first.parts:
        rows = np.flatnonzero(there[start : start + part.rows_scored]) + start
        start += part.rows_scored
        if not len(rows):
            continue
        mine = to_arrow(rows.astype(np.int64))
        yield AlignedRows(
            source=part.source,
            where=where.take(mine),
            first=_whole(ours.select(list(first.columns)).take(mine)),
            second=_whole(theirs.select(list(second.columns)).take(found.take(mine))),
        )


Numbered = tuple[NDArray[np.int64], pa.RecordBatch]


def _blocks(side: Side, parts: list[OutputPart]) -> Iterator[Numbered]:
    """The rows of an input's parts, with their numbers in the input."""
    for part in parts:
        rejected = _rejected(side.store, part)
        # The k-th rejected row comes after `rejected[k] - k` scored ones.
        before = rejected - np.arange(len(rejected))
        position = 0
        try:
            with ParquetSource(side.store.path(part.target), name=part.target) as source:
                for batch in source.read_batches(side.columns):
                    scored = np.arange(position, position + batch.num_rows, dtype=np.int64)
                    position += batch.num_rows
                    yield scored + np.searchsorted(before, scored, side="right") + part.first_row, batch
        except PartitionError as error:
            raise DataError(f"{one_line(error)}; run scoreline verify") from error


def _rejected(store: Store, part: OutputPart) -> NDArray[np.int64]:
    """The positions of the rejected rows in a part's split, ascending."""
    if part.rejects is None:
        return np.zeros(0, dtype=np.int64)
    try:
        with store.local(part.rejects) as path, pa.ipc.open_file(str(path)) as reader:
            numbers = plain(reasons_of(reader.read_all())).field("row_number")
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{part.rejects}: cannot be read: {one_line(error)}; run scoreline verify") from error
    return np.sort(to_numpy(numbers)) - part.first_row


def _merged(
    first: Iterator[Numbered], second: Iterator[Numbered], unmatched: Unmatched
) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch, pa.RecordBatch]]:
    """The rows with the same numbers. Both streams are in ascending order."""
    one, other = _next(first), _next(second)
    while one is not None and other is not None:
        end = min(one[0][-1], other[0][-1])
        left, one = _cut(one, end)
        right, other = _cut(other, end)
        if np.array_equal(left[0], right[0]):
            yield left[0], left[1], right[1]
        else:
            both, mine, others = np.intersect1d(left[0], right[0], assume_unique=True, return_indices=True)
            unmatched.first_rows += len(left[0]) - len(both)
            unmatched.second_rows += len(right[0]) - len(both)
            if len(both):
                yield both, left[1].take(to_arrow(mine)), right[1].take(to_arrow(others))
        one, other = one or _next(first), other or _next(second)
    while one is not None:
        unmatched.first_rows += len(one[0])
        one = _next(first)
    while other is not None:
        unmatched.second_rows += len(other[0])
        other = _next(second)


def _next(blocks: Iterator[Numbered]) -> Numbered | None:
    return next((block for block in blocks if len(block[0])), None)


def _cut(block: Numbered, end: int) -> tuple[Numbered, Numbered | None]:
    """The rows up to the number `end`, and those after it."""
    numbers, batch = block
    count = int(np.searchsorted(numbers, end, side="right"))
    rest = None if count == len(numbers) else (numbers[count:], batch.slice(count))
    return (numbers[:count], batch.slice(0, count)), rest


def _refuse_other_input(ours: Store, mine: OutputPart, theirs: Store, other: OutputPart) -> None:
    """Raise DataError if the outputs were made from different versions of an input: its row numbers then name different
    rows."""
    found = [read_receipt(store.path(part.target)) for store, part in ((ours, mine), (theirs, other))]
    for part, receipt in zip((mine, other), found, strict=True):
        if not isinstance(receipt, Receipt):
            raise DataError(f"{part.target}: is {receipt}; run scoreline verify")
    marks = [input_content(one.fingerprint) for one in found if isinstance(one, Receipt)]
    if marks[0] != marks[1]:
        raise DataError(
            f"{mine.source}: has changed between the two runs (another size or modification time), so row numbers do"
            " not identify its rows; pass --on KEY to align the rows by a key column"
        )


def _table(side: Side, on: str) -> pa.Table:
    """The key and the compared columns of all parts."""
    columns, tables = list(dict.fromkeys([on, *side.columns])), []
    for part in side.parts:
        try:
            with ParquetSource(side.store.path(part.target), name=part.target) as source:
                if on not in source.names:
                    keys = [name for name in source.names if name not in side.columns]
                    raise UsageError(f"{part.target} has no column {on!r}; its other columns are {listed(keys)}")
                tables.append(source.read(columns).replace_schema_metadata(None))
        except PartitionError as error:
            raise DataError(f"{one_line(error)}; run scoreline verify") from error
        one, other = tables[0].schema.field(on).type, tables[-1].schema.field(on).type
        if one != other:
            raise DataError(
                f"{str(side.store.root)!r}: key {on!r} is {one} in {side.parts[0].target} and {other} in {part.target};"
                " keys must have one type in all inputs of a run"
            )
    return pa.concat_tables(tables).combine_chunks()  # rows are taken for each part, which otherwise visits every chunk


def _keys(side: Side, table: pa.Table, on: str) -> Keys:
    untyped = all(recorded_format(part.format).cells_are_text for part in side.parts)
    return Keys(column=table.column(on), name=on, where=str(side.store.root), untyped=untyped)


def _refuse_duplicates(side: Side, keys: pa.Array, on: str) -> None:
    counts = keys.drop_null().value_counts()
    repeated = np.flatnonzero(to_numpy(counts.field("counts")) > 1)
    if len(repeated):
        value = counts.field("values")[int(repeated[0])].as_py()
        raise DataError(f"{str(side.store.root)!r}: {on!r} contains {value!r} more than once, so it is not a key")


def _whole(table: pa.Table) -> pa.RecordBatch:
    table = table.combine_chunks()
    columns = [plain(column) if column.num_chunks != 1 else column.chunk(0) for column in table.columns]
    schema = pa.schema([field.with_type(column.type) for field, column in zip(table.schema, columns, strict=True)])
    return pa.RecordBatch.from_arrays(columns, schema=schema)
