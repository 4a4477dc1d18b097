"""The rows that two outputs have in common, in blocks: those with the same input and row number, whatever their splits
and rejects, or those with the same key. Independent of what is compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
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
from ..plain import is_text, plain
from ..python_values import python_value
from .matched_keys import match_keys
from .parts import OutputPart
from .reject_files import opened_rejects


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
    the keys of both outputs, and the compared columns of the second. Rows without a key have no counterpart.

    Raises:
        UsageError: a part has no such column.
        DataError: keys of types that cannot be compared exactly, or a key that appears twice; a part is damaged.
    """
    ours, theirs = _keys(first, on), _keys(second, on)
    matched = match_keys(*comparable(ours, theirs))
    for side, keys, at in zip((first, second), (ours, theirs), matched.repeated, strict=True):
        if at is not None:
            value = python_value(keys.column[at])
            shown = repr(value) if isinstance(value, str | int | float) else str(value)
            raise DataError(f"{str(side.store.root)!r}: {on!r} contains {shown} more than once, so it is not a key")
    there = matched.positions >= 0
    unmatched.first_rows = len(ours.column) - int(there.sum())
    unmatched.second_rows = len(theirs.column) - int(there.sum())
    if not there.any():
        return
    other, start = _in_one_piece(second), 0
    for part in first.parts:
        for batch in _read(first, part, first.columns):
            end = start + batch.num_rows
            rows = np.flatnonzero(there[start:end])
            if len(rows):
                yield AlignedRows(
                    source=part.source,
                    where=ours.column.slice(start, batch.num_rows).take(to_arrow(rows)),
                    first=_taken(batch, rows),
                    second=_taken(other, matched.positions[start:end][rows].astype(np.int64)),
                )
            start = end


Numbered = tuple[NDArray[np.int64], pa.RecordBatch]


def _blocks(side: Side, parts: list[OutputPart]) -> Iterator[Numbered]:
    """The rows of an input's parts, with their numbers in the input."""
    for part in parts:
        rejected = _rejected(side.store, part)
        # The k-th rejected row comes after `rejected[k] - k` scored ones.
        before = rejected - np.arange(len(rejected))
        position = 0
        for batch in _read(side, part, side.columns):
            scored = np.arange(position, position + batch.num_rows, dtype=np.int64)
            position += batch.num_rows
            yield scored + np.searchsorted(before, scored, side="right") + part.first_row, batch


def _read(side: Side, part: OutputPart, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a part. Raises DataError where it is damaged."""
    try:
        with ParquetSource(side.store.path(part.target), name=part.target) as source:
            yield from source.read_batches(columns)
    except PartitionError as error:
        raise DataError(f"{one_line(error)}; run scoreline verify") from error


def _rejected(store: Store, part: OutputPart) -> NDArray[np.int64]:
    """The positions of the rejected rows in a part's split, ascending."""
    if part.rejects is None:
        return np.zeros(0, dtype=np.int64)
    with opened_rejects(store, part) as reader:
        numbers = plain(reasons_of(reader.read_all())).field("row_number")
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


def _keys(side: Side, on: str) -> Keys:
    """The key column of all parts."""
    found: list[pa.Array] = []
    types: list[pa.DataType] = []
    for part in side.parts:
        try:
            with ParquetSource(side.store.path(part.target), name=part.target) as source:
                if on not in source.names:
                    keys = [name for name in source.names if name not in side.columns]
                    raise UsageError(f"{part.target} has no column {on!r}; its other columns are {listed(keys)}")
                column = source.read([on]).column(0)
                types.append(column.type)
                found.append(plain(column))  # text and bytes in one layout, which differs between writers
        except PartitionError as error:
            raise DataError(f"{one_line(error)}; run scoreline verify") from error
        if found[-1].type != found[0].type:
            raise DataError(
                f"{str(side.store.root)!r}: key {on!r} is {types[0]} in {side.parts[0].target} and"
                f" {types[-1]} in {part.target}; keys must have one type in all inputs of a run: cast it where the"
                " files are written"
            )
    untyped = all(recorded_format(part.format).cells_are_text for part in side.parts)
    column = pa.concat_arrays(found)
    return Keys(column=column, name=on, where=str(side.store.root), arrow_type=types[0], untyped=untyped)


def _in_one_piece(side: Side) -> pa.RecordBatch:
    """The compared columns of all parts, each as one array to take rows from: text as a dictionary, since it is
    labels."""
    read = [batch for part in side.parts for batch in _read(side, part, side.columns)]
    columns = {}
    for index, name in enumerate(side.columns):
        columns[name] = plain(pa.chunked_array([batch.column(index) for batch in read]))
        if is_text(columns[name].type):
            columns[name] = columns[name].dictionary_encode()
    return pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])


def _taken(batch: pa.RecordBatch, rows: NDArray[np.int64]) -> pa.RecordBatch:
    """Some rows. Consecutive ones are not copied."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return batch.slice(int(rows[0]), len(rows))
    return batch.take(to_arrow(rows))
