"""An output and what is right → how good its predictions are, at the speed of reading. Nothing is held but counts, the
ranks of AUC, and labels that are joined from another file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.run import HeadRecord, PartitionRecord, RunManifest
from ..arrays import to_numpy
from ..arrow_types import is_list
from ..errors import DataError, PartitionError, UsageError, one_line
from ..inputs.discover import hive_keys
from ..nested import keep
from ..outputs.manifest import read_manifest
from ..outputs.store import SUCCESS, Store
from ..parquet.file import ParquetSource
from ..plain import plain, whole
from ..storage.folders import listing_error
from .joins import Keys
from .label_file import LabelFile, LabelTable
from .labels import numbers_of, places_of, truths_of
from .metrics import ClassMetrics, QuantileMetrics, RegressionMetrics

Advance = Callable[[int], object]


@dataclass(kw_only=True, slots=True)
class Evaluation:
    """Of one head. `rows` (of tagging: steps) had a label, `unlabelled` had none. `classes`: of one label among
    several; `labels`: of each of a multilabel head; `targets`, `quantiles`: of a regression, by column."""

    head: HeadRecord
    rows: int = 0
    unlabelled: int = 0
    classes: ClassMetrics | None = None
    labels: dict[str, ClassMetrics] = field(default_factory=dict)
    exact_rows: int = 0
    targets: dict[str, RegressionMetrics] = field(default_factory=dict)
    quantiles: dict[str, QuantileMetrics] = field(default_factory=dict)


def evaluate(
    output: str,
    labels: Sequence[str],
    *,
    head: str | None = None,
    joined: LabelFile | None = None,
    advance: Advance = lambda _: None,
) -> Evaluation:
    """Hold the predictions of a finished run against what is right.

    Args:
        output: what `scoreline score` has written.
        labels: the column that holds what is right; one for each label of a multilabel head or target of a
            regression, in their order.
        head: which, where the bundle has several.
        joined: take the columns from this file.
        advance: told how many rows have been read.

    Raises:
        DataError: no finished run, or a value that is no label.
        UsageError: a head or column that is not there.
    """
    store = Store(output, failed=listing_error)
    manifest = finished(store)
    chosen = _chosen(manifest, head)
    if chosen.task == "generation":
        raise UsageError("what is generated has no one right answer to be held against; read its column")
    wanted = len(chosen.labels) if chosen.task == "multilabel" else max(1, len(chosen.targets))
    if len(labels) != wanted:
        raise UsageError(f"{chosen.task} takes {wanted} --label, in the bundle's order; {len(labels)} were given")
    made = {column for head in manifest.heads for column in head.columns}
    if joined is None and set(labels) & made:
        raise UsageError(
            f"--label {min(set(labels) & made)!r} is a prediction; name the column that holds what is right"
        )
    found = _empty(chosen)
    parts = [_Part(part.target, record) for record in manifest.partitions for part in record.parts]
    table = None if joined is None else LabelTable(joined, labels)
    keys = labels if joined is None else [joined.on]
    for part, rows in _batches(store, parts, chosen, keys, whole_parts=joined is not None):
        truths = [part.column(rows, name) for name in keys]
        if table is not None:
            truths = table.look_up(part.keys(rows, keys[0]))
        _add(found, rows, truths, labels)
        advance(rows.num_rows)
    if not found.rows:
        hint = f"; do the keys in {joined.on!r} read alike in both?" if joined is not None else ""
        raise DataError(
            f"{output}: none of {found.unlabelled:,} rows has a label in {', '.join(map(repr, labels))}{hint}"
        )
    return found


def finished(store: Store) -> RunManifest:
    """The manifest of a run that has ended well.

    Raises:
        NoInputError: no output of ours.
        DataError: a run that is not complete, whose run.json was changed, or which does not say what predictions are.
    """
    manifest = read_manifest(store)
    if manifest.status != "success" or store.kind(SUCCESS) != "file":
        raise DataError(f"{str(store.root)!r} is not complete; run the same scoreline score again first")
    if not manifest.heads:
        raise DataError(f"{str(store.root)!r} does not say what its predictions are; score it again with --force")
    return manifest


def _chosen(manifest: RunManifest, name: str | None) -> HeadRecord:
    heads = [head for head in manifest.heads if name is None or head.name == name]
    if len(heads) != 1:
        raise UsageError(f"--head is to name one of {', '.join(head.name for head in manifest.heads)}")
    return heads[0]


def _empty(head: HeadRecord) -> Evaluation:
    found = Evaluation(head=head)
    match head.task:
        case "binary" | "multiclass" | "tagging":
            found.classes = ClassMetrics(len(head.labels))
        case "multilabel":
            found.labels = {str(label): ClassMetrics(2) for label in head.labels}
        case "regression":
            for column, quantile in zip(head.columns, head.quantiles, strict=False):
                found.quantiles[column] = QuantileMetrics(quantile)
            if not head.quantiles:
                found.targets = {column: RegressionMetrics() for column in head.columns[: max(1, len(head.targets))]}
    return found


class _Part:
    """A file of the output, and the columns that the folders of its input say beside its own."""

    def __init__(self, name: str, record: PartitionRecord) -> None:
        self.name, self.path = name, dict(hive_keys(record.source))
        self._of_csv = record.format == "csv"

    def column(self, rows: pa.RecordBatch | pa.Table, name: str) -> Any:
        """A column of the file, or else one that the path says, as text."""
        if name in rows.schema.names:
            return rows.column(name)
        return pa.repeat(pa.scalar(self.path[name], pa.large_string()), rows.num_rows)

    def keys(self, rows: pa.RecordBatch | pa.Table, name: str) -> Keys:
        """The same, to be compared with those of another file."""
        untyped = self._of_csv or name not in rows.schema.names
        return Keys(column=self.column(rows, name), name=name, where=self.name, untyped=untyped)


def _batches(
    store: Store, parts: Sequence[_Part], head: HeadRecord, keys: Sequence[str], *, whole_parts: bool
) -> Iterator[tuple[_Part, pa.RecordBatch | pa.Table]]:
    """Some columns beside the predictions, as far as they stand in the files."""
    for part in parts:
        try:
            with ParquetSource(store.path(part.name), name=part.name) as source:
                missing = [key for key in keys if key not in source.names and key not in part.path]
                if missing:
                    there = ", ".join([*(n for n in source.names if n not in head.columns), *part.path])
                    raise UsageError(f"{part.name} has no column {missing[0]!r}; its keys are {there or 'none'}")
                columns = [*dict.fromkeys([*(key for key in keys if key in source.names), *head.columns])]
                if whole_parts:
                    yield part, source.read(columns).combine_chunks()
                else:
                    for batch in source.read_batches(columns):
                        yield part, batch
        except PartitionError as error:
            raise DataError(f"{one_line(error)}; run scoreline verify") from error


def _add(found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> None:
    head = found.head
    match head.task:
        case "binary" | "multiclass":
            assert found.classes is not None, "made for the task"
            truth, known = places_of(truths[0], head.labels, names[0])
            predicted, _ = places_of(rows.column(head.columns[0]), head.labels, head.columns[0])
            probabilities = _probabilities(head, rows)
            found.classes.add(truth[known], predicted[known], None if probabilities is None else probabilities[known])
        case "tagging":
            assert found.classes is not None, "made for the task"
            right, ours = _steps(plain(rows.column(head.columns[0])), truths[0], names[0])
            truth, known = places_of(right, head.labels, names[0])
            predicted, _ = places_of(ours, head.labels, head.columns[0])
            found.classes.add(truth[known], predicted[known], None)
        case "multilabel":
            matrix, known = truths_of(truths, names)
            predicted = np.stack([to_numpy(whole(rows.column(n))) for n in head.columns[: len(head.labels)]], axis=1)
            probabilities = _probabilities(head, rows)
            found.exact_rows += int((matrix == predicted).all(axis=1)[known].sum())
            for place, metrics in enumerate(found.labels.values()):
                yes = None if probabilities is None else probabilities[known, place]
                both = None if yes is None else np.stack([1 - yes, yes], axis=1)
                metrics.add(matrix[known, place].astype(np.int64), predicted[known, place].astype(np.int64), both)
        case "regression":
            pairs = [numbers_of(truth, name) for truth, name in zip(truths, names, strict=True)]
            right, known = [values for values, _ in pairs], np.logical_and.reduce([there for _, there in pairs])
            wanted: dict[str, RegressionMetrics | QuantileMetrics] = {**found.targets, **found.quantiles}
            for place, (column, one) in enumerate(wanted.items()):
                values = to_numpy(whole(rows.column(column)))
                one.add(right[place % len(right)][known], values[known])
    found.rows += int(known.sum())
    found.unlabelled += len(known) - int(known.sum())


def _steps(predicted: pa.Array, column: Any, name: str) -> tuple[pa.Array, pa.Array]:
    """The labels of every step, right ones and predicted ones, of the rows that have right ones.

    Raises:
        DataError: no lists, or of another number of steps.
    """
    truth = plain(column)
    if not is_list(truth.type):
        raise DataError(f"label column {name!r} is {column.type}, and tagging has a list of labels for each row")
    known = truth.is_valid()
    right, ours = keep(truth, known), keep(predicted, known)
    apart = pc.not_equal(pc.list_value_length(right).cast(pa.int64()), pc.list_value_length(ours).cast(pa.int64()))
    if pc.any(apart).as_py():
        row = pc.index(apart, True).as_py()
        raise DataError(
            f"label column {name!r} has {len(right[row])} labels in a row of {len(ours[row])} steps; it needs one each"
        )
    return right.flatten(), ours.flatten()


def _probabilities(head: HeadRecord, rows: Any) -> np.ndarray | None:
    """float32 `[rows, labels]`, where they were written; of a binary head from that of the second label."""
    several = head.task == "multilabel"
    base = head.columns[0].removesuffix(f"prediction_{head.labels[0]}" if several else "prediction")
    if f"{base}probabilities" in head.columns:
        flat = whole(rows.column(f"{base}probabilities")).flatten()
        return np.asarray(to_numpy(flat)).reshape(rows.num_rows, -1)
    if f"{base}probability" in head.columns:
        yes = np.asarray(to_numpy(whole(rows.column(f"{base}probability"))))
        return np.stack([1 - yes, yes], axis=1)
    names = [f"{base}probability_{label}" for label in head.labels]
    if not set(names) <= set(head.columns):
        return None
    return np.stack([np.asarray(to_numpy(whole(rows.column(name)))) for name in names], axis=1)
