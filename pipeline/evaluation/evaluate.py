"""Evaluates an output's predictions against the true labels, at the speed of reading. Holds only counts, the ranks for
AUC, and labels that are joined from another file.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from ...schemas.run import HeadRecord
from ..errors import DataError, PartitionError, UsageError, listed, one_line
from ..inputs.formats import recorded_format
from ..inputs.hive import hive_keys
from ..joins import Keys
from ..outputs.finished import chosen_head, read_finished
from ..outputs.manifest import read_record
from ..outputs.part_records import PartitionRecord
from ..outputs.store import Store
from ..outputs.stores import open_store
from ..parquet.file import ParquetSource
from ..storage.folders import listing_error
from ..tasks.tasks import TASKS
from .evaluators import Evaluation, PredictionError, evaluator_of
from .label_file import LabelFile, LabelTable
from .labels import LabelError, located, refuse_repeated

Advance = Callable[[int], object]


def evaluate(
    output: str,
    labels: Sequence[str],
    *,
    head: str | None = None,
    joined: LabelFile | None = None,
    advance: Advance = lambda _: None,
) -> Evaluation:
    """Evaluate the predictions of a finished run against the true labels.

    Args:
        output: the output of `scoreline score`.
        labels: the column with the true labels; one column per label of a multilabel head or target of a regression,
            in the bundle's order.
        head: the head's name, if the bundle has several.
        joined: take the label columns from this file.
        advance: called with the number of rows read since the last call.

    Raises:
        DataError: the run is not finished, or a value is not a label.
        UsageError: a head or column does not exist.
    """
    store = open_store(output, failed=listing_error)
    manifest = read_finished(store)
    chosen = chosen_head(manifest, head)
    evaluator = evaluator_of(chosen)
    if chosen.task not in TASKS:
        raise DataError(f"run.json names the task {chosen.task!r}, which is not one of {', '.join(TASKS)}")
    if evaluator is None:
        raise UsageError("generated sequences cannot be evaluated, since they have no single correct answer")
    wanted = evaluator.num_columns(chosen)
    if len(labels) != wanted:
        raise UsageError(f"{chosen.task} takes {wanted} --label, in the bundle's order; {len(labels)} given")
    refuse_repeated(labels)
    made = {column for head in manifest.heads for column in head.columns}
    if joined is None and set(labels) & made:
        raise UsageError(f"--label {min(set(labels) & made)!r} is a prediction; pass the column with the true labels")
    found = evaluator.start(chosen)
    partitions = read_record(store, manifest).partitions
    parts = [_Part(part.target, record) for record in partitions for part in record.parts]
    table = None if joined is None else LabelTable(joined, labels)
    keys = labels if joined is None else [joined.on]
    for part, first_row, rows in _batches(store, parts, chosen, keys, whole_parts=joined is not None):
        truths, of_rows = [part.column(rows, name) for name in keys], None
        if table is not None:
            truths, of_rows = table.look_up(part.keys(rows, keys[0]))
        try:
            known = evaluator.add(found, rows, truths, labels)
        except PredictionError as error:
            raise DataError(f"{located(error, part.name, first_row)}; run scoreline verify") from error
        except LabelError as error:
            raise located(error, part.name if joined is None else joined.path, first_row, of_rows) from error
        found.rows += int(known.sum())
        found.unlabelled += len(known) - int(known.sum())
        advance(rows.num_rows)
    if not found.rows:
        hint = f"; check that the keys in {joined.on!r} match" if joined is not None else ""
        raise DataError(f"{output}: no row has a label in {listed(labels)} (rows read: {found.unlabelled:,}){hint}")
    return found


class _Part:
    """A file of the output, with the columns from its input's folder names (`name=value`)."""

    def __init__(self, name: str, record: PartitionRecord) -> None:
        self.name, self.path = name, dict(hive_keys(record.source))
        self._untyped = recorded_format(record.format).cells_are_text

    def column(self, rows: pa.RecordBatch | pa.Table, name: str) -> Any:
        """A column of the file, or one from the path, as text."""
        if name in rows.schema.names:
            return rows.column(name)
        return pa.repeat(pa.scalar(self.path[name], pa.large_string()), rows.num_rows)

    def keys(self, rows: pa.RecordBatch | pa.Table, name: str) -> Keys:
        """A column as keys, for comparison with another file's."""
        untyped = self._untyped or name not in rows.schema.names
        return Keys(column=self.column(rows, name), name=name, where=self.name, untyped=untyped)


def _batches(
    store: Store, parts: Sequence[_Part], head: HeadRecord, keys: Sequence[str], *, whole_parts: bool
) -> Iterator[tuple[_Part, int, pa.RecordBatch | pa.Table]]:
    """The predictions and key columns of each part, in batches, each with the number of its first row; keys from the
    path are not included."""
    for part in parts:
        try:
            with ParquetSource(store.path(part.name), name=part.name) as source:
                missing = [key for key in keys if key not in source.names and key not in part.path]
                if missing:
                    there = ", ".join([*(n for n in source.names if n not in head.columns), *part.path])
                    raise UsageError(
                        f"{part.name} has no column {missing[0]!r}; its keys are {there or 'none'} (scoreline score"
                        " --keys carries columns through); a file with labels is joined by --labels FILE --on KEY"
                    )
                columns = [*dict.fromkeys([*(key for key in keys if key in source.names), *head.columns])]
                if whole_parts:
                    yield part, 0, source.read(columns).combine_chunks()
                else:
                    first_row = 0
                    for batch in source.read_batches(columns):
                        yield part, first_row, batch
                        first_row += batch.num_rows
        except PartitionError as error:
            raise DataError(f"{one_line(error)}; run scoreline verify") from error
