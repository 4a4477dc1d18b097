"""The rejected rows of an output: the first of them, how many there are for each reason and file, and all of them as
CSV. Does not import torch."""

import base64
import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...schemas.run import RunManifest
from ..errors import DataError
from ..inputs.quotes import REASONS
from ..outputs.assemble import REJECT, reasons_of
from ..outputs.finished import why_incomplete
from ..outputs.manifest import read_manifest, read_record
from ..outputs.store import Store
from ..outputs.stores import open_store
from ..python_values import python_value, python_values
from ..storage.folders import listing_error
from ..storage.replaced_file import replaced_file
from .parts import OutputPart, output_parts
from .reject_files import opened_rejects

#: The reasons that contain values, such as `'x'` in "is 'x', not a number" or the row in "has 3 cells, but the header
#: has 4: …", with what remains of them.
_WITH_VALUES = tuple((re.compile(pattern, re.DOTALL), rest) for pattern, rest in (
    (r"is .+(, (?:not|outside) .*)", r"is …\1"),
    (r"step [0-9]+ is .+(, (?:not|outside) .*)", r"step … is …\1"),
    (r"step [0-9]+ (.*)", r"step … \1"),
    (r"(has .+ the header has [0-9]+): .*", r"\1"),
    (rf"((?:{'|'.join(map(re.escape, REASONS))})(?: \(if .*?\))?): .*", r"\1"),
    (r"has [0-9,]+ (steps?|tokens?|bytes? of text)(, but .*)", r"has … \1\2"),
))  # fmt: skip
#: A text in the message of an expression, such as "Could not convert string 'x' to INT32".
_QUOTED = re.compile(r"'[^']*'")
_BY_EXPRESSION = "cannot be computed: "

#: Rows that are shown of each reason.
EXAMPLES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedRow:
    """One rejected row. `row`: its number in its input, from 0. `value`: the cell of `column` as text; empty if it is
    null, or if no column is to blame."""

    source: str
    row: int
    stage: str
    column: str
    reason: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectGroup:
    """The rejects with one reason. `reason`: without the values in it. `inputs`: how many inputs have such rows.
    `examples`: the first rows, at most `EXAMPLES`."""

    stage: str
    column: str
    reason: str
    rows: int
    inputs: int
    examples: tuple[RejectedRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejects:
    """The rejects of an output. `unfinished`: why the run did not succeed, None if it did. `first`: the first rejects,
    by input and row. `groups` and `by_source`: the most frequent first."""

    unfinished: str | None
    rows_in: int
    rows_rejected: int
    first: tuple[RejectedRow, ...]
    groups: tuple[RejectGroup, ...]
    by_source: tuple[tuple[str, int], ...]


def read_rejects(output: str, *, limit: int) -> Rejects:
    """Read the rejected rows of an output, also of one whose run has failed.

    Args:
        output: the output of `scoreline score`.
        limit: how many rows to return.

    Raises:
        NoInputError: the folder is not an output of Scoreline.
        DataError: the run was killed or is still running, or a file of rejects is missing or damaged.
    """
    store, manifest = _ended(output)
    first: list[RejectedRow] = []
    groups, by_source = _Groups(), Counter[str]()
    for part, batch in _batches(store, output_parts(read_record(store, manifest))):
        groups.add(part.source, batch)
        by_source[part.source] += batch.num_rows
        first += [_row(batch, index) for index in range(min(batch.num_rows, limit - len(first)))]
    return Rejects(
        unfinished=manifest.error,
        rows_in=manifest.rows_in,
        rows_rejected=by_source.total(),
        first=tuple(first),
        groups=groups.most_frequent(),
        by_source=tuple(by_source.most_common()),
    )


def group_rejects(store: Store, parts: Iterable[OutputPart]) -> tuple[RejectGroup, ...]:
    """The reasons in the rejects of some parts, the most frequent first.

    Raises:
        DataError: a file of rejects is missing or damaged.
    """
    groups = _Groups()
    for part, batch in _batches(store, parts):
        groups.add(part.source, batch)
    return groups.most_frequent()


def write_rejects(output: str, path: Path) -> int:
    """Write all rejected rows to a CSV file: where and why, as `reject.source`, `reject.row_number`, `reject.stage`,
    `reject.column` and `reject.reason`, then the columns that were read. Null is an empty cell; lists and structs are
    JSON, bytes base64.

    Returns:
        The number of rows.

    Raises:
        NoInputError, DataError: as `read_rejects`.
        StorageError: the file cannot be written; an older one is unchanged.
    """
    store, manifest = _ended(output)
    names, number = _column_names(store, manifest), 0
    with replaced_file(path, "the CSV file") as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow([*(f"reject.{field.name}" for field in REJECT), *names])
        for _, batch in _batches(store, output_parts(read_record(store, manifest))):
            reasons = reasons_of(batch)
            there = dict(zip(batch.schema.names[:-1], batch.columns[:-1], strict=True))
            empty = [None] * batch.num_rows
            columns = [reasons.field(index).to_pylist() for index in range(REJECT.num_fields)]
            columns += [python_values(there[name]) if name in there else empty for name in names]
            writer.writerows([_cell(value) for value in row] for row in zip(*columns, strict=True))
            number += batch.num_rows
        text.flush()
        text.detach()
    return number


def _ended(output: str) -> tuple[Store, RunManifest]:
    """An output whose run has ended, and thus recorded its parts."""
    store = open_store(output, failed=listing_error)
    manifest = read_manifest(store)
    if manifest.status == "running":
        raise DataError(f"{str(store.root)!r} has no record of its rejects: {why_incomplete(store, manifest)}")
    return store, manifest


def _batches(store: Store, parts: Iterable[OutputPart]) -> Iterator[tuple[OutputPart, pa.RecordBatch]]:
    """The rejects of parts, with their columns."""
    for part in parts:
        if part.rejects is not None:
            with opened_rejects(store, part) as reader:
                for index in range(reader.num_record_batches):
                    yield part, reader.get_batch(index)


def _column_names(store: Store, manifest: RunManifest) -> list[str]:
    """The columns of all rejects that were read from inputs, in the order of appearance."""
    names: dict[str, None] = {}
    for part in output_parts(read_record(store, manifest)):
        if part.rejects is not None:
            with opened_rejects(store, part) as reader:
                names.update(dict.fromkeys(reader.schema.names[:-1]))
    return list(names)


class _Groups:
    """Counts rejects by stage, column and reason without values, with the first rows of each."""

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, str, str]]()
        self._sources = defaultdict[tuple[str, str, str], set[str]](set)
        self._examples = defaultdict[tuple[str, str, str], list[RejectedRow]](list)

    def add(self, source: str, batch: pa.RecordBatch) -> None:
        """Count the rows of a batch, which are of one input."""
        reasons = reasons_of(batch)
        fields = [reasons.field(name).to_pylist() for name in ("stage", "column", "reason")]
        rows = list(zip(*fields, strict=True))
        counts = Counter(rows)
        groups = {(stage, column, reason): (stage, column, _without_values(reason)) for stage, column, reason in counts}
        for row, count in counts.items():
            self._counts[groups[row]] += count
            self._sources[groups[row]].add(source)
        for index, row in enumerate(rows):
            if len(examples := self._examples[groups[row]]) < EXAMPLES:
                examples.append(_row(batch, index))

    def most_frequent(self) -> tuple[RejectGroup, ...]:
        """The groups, by their number of rows."""
        return tuple(
            RejectGroup(
                stage=group[0],
                column=group[1],
                reason=group[2],
                rows=rows,
                inputs=len(self._sources[group]),
                examples=tuple(self._examples[group]),
            )
            for group, rows in self._counts.most_common()
        )


def _without_values(reason: str) -> str:
    """A reason without the values of its row, so that it is the same for all rows with it."""
    if reason.startswith(_BY_EXPRESSION):
        return _QUOTED.sub("'…'", reason)
    for pattern, rest in _WITH_VALUES:
        if (match := pattern.fullmatch(reason)) is not None:
            return match.expand(rest)
    return reason


def _row(batch: pa.RecordBatch, index: int) -> RejectedRow:
    reject = reasons_of(batch)[index].as_py()
    there = reject["column"] in batch.schema.names[:-1]
    return RejectedRow(
        source=reject["source"],
        row=reject["row_number"],
        stage=reject["stage"],
        column=reject["column"],
        reason=reject["reason"],
        value=_cell(python_value(batch.column(reject["column"])[index])) if there else "",
    )


def _cell(value: Any) -> str:
    """A value as the text of a CSV cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | dict):
        return json.dumps(value, default=_cell, ensure_ascii=False)
    return str(value)
