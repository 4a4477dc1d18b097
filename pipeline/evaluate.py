"""An output and what is right → how good its predictions are, at the speed of reading. Nothing is held but counts, the
ranks of AUC, and labels that are joined from another file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pydantic import ValidationError

from ..schemas.run import HeadRecord, RunManifest
from .arrays import to_numpy
from .errors import DataError, NoInputError, UsageError, one_line
from .inputs.check import is_list
from .metrics import ClassMetrics, QuantileMetrics, RegressionMetrics
from .nested import comparable, keep, take
from .outputs.store import MANIFEST, SUCCESS, Store
from .truth import numbers_of, places_of, truths_of

Advance = Callable[[int], object]
#: What keys are called beside the user's own columns.
KEY = "scoreline key"


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


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFile:
    """Right labels that stand in another file. `on`: the key by which a row of the output is found there."""

    path: str
    on: str


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
    store = Store(output)
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
    parts = [part.target for record in manifest.partitions for part in record.parts]
    table = None if joined is None else _joinable(joined, labels, _key_type(store, parts, joined))
    for rows in _batches(store, parts, chosen, labels, joined):
        truths = [rows.column(name) for name in labels] if table is None else _looked_up(rows, table, joined, labels)
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
        DataError: a run that is not complete, or was made by a version that did not say what predictions are.
    """
    try:
        manifest = RunManifest.model_validate_json(store.path(MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise NoInputError(f"{str(store.root)!r} is no output of scoreline score: {one_line(error)}") from error
    if manifest.status != "success" or not store.path(SUCCESS).exists():
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


def _batches(
    store: Store, parts: Sequence[str], head: HeadRecord, labels: Sequence[str], joined: LabelFile | None
) -> Iterator[pa.RecordBatch | pa.Table]:
    """The columns that are needed; a part at a time where labels are joined, since that is looked up at once."""
    keys = list(labels) if joined is None else [joined.on]
    columns = [*dict.fromkeys([*keys, *head.columns])]
    for name in parts:
        try:
            with pq.ParquetFile(store.path(name), page_checksum_verification=True) as file:
                missing = [key for key in keys if key not in file.schema_arrow.names]
                if missing:
                    there = ", ".join(n for n in file.schema_arrow.names if n not in head.columns)
                    raise UsageError(f"{name} has no column {missing[0]!r}; its keys are {there or 'none'}")
                if joined is not None:
                    yield file.read(columns=columns).combine_chunks()
                else:
                    yield from file.iter_batches(batch_size=1 << 16, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{name}: cannot be read: {one_line(error)}; run scoreline verify") from error


def _key_type(store: Store, parts: Sequence[str], joined: LabelFile) -> pa.DataType | None:
    """The type of the key in the output, as far as it can be told."""
    for name in parts:
        try:
            with pq.ParquetFile(store.path(name)) as file:
                kinds = [field.type for field in file.schema_arrow if field.name == joined.on]
        except (OSError, pa.ArrowException):
            return None
        return kinds[0] if kinds else None
    return None


def _joinable(joined: LabelFile, labels: Sequence[str], key: pa.DataType | None) -> pa.Table:
    """Keys, in the type they have in the output, and labels; without rows that have no key."""
    names = [*dict.fromkeys([joined.on, *labels])]
    try:
        if joined.path.lower().endswith((".csv", ".csv.gz")):
            text = {name: pa.string() for name in names}  # 007 is no 7, and what a label is the bundle says
            table = pacsv.read_csv(joined.path, convert_options=pacsv.ConvertOptions(column_types=text))
        else:
            with pq.ParquetFile(joined.path) as file:
                table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise NoInputError(f"{joined.path}: cannot be read: {one_line(error)}") from error
    wrong = [name for name in names if table.schema.names.count(name) != 1]
    if wrong:
        times = table.schema.names.count(wrong[0])
        there = f"column {wrong[0]!r} {times} times" if times else f"no column {wrong[0]!r}"
        raise UsageError(f"{joined.path} has {there}; it has {', '.join(table.schema.names)}")
    table = table.select(names).combine_chunks()
    try:
        keys = _plain_keys(table.column(joined.on))
        wanted = keys.type if key is None or pa.types.is_dictionary(key) else comparable(pa.nulls(0, key)).type
        keys = _as_type(keys, wanted)
        known = np.flatnonzero(to_numpy(keys.is_valid()))
        named = {name: take(_whole(table.column(name)), known) for name in names}
        table = pa.table({**named, KEY: take(keys, known)})
        distinct = len(_whole(table.column(KEY)).unique())
    except pa.ArrowException as error:
        raise DataError(f"{joined.path}: key {joined.on!r} is no {key}, as in the output: {one_line(error)}") from error
    if distinct != table.num_rows:
        raise DataError(f"{joined.path}: column {joined.on!r} holds a key twice, so it does not say which is right")
    return table


def _plain_keys(column: Any) -> pa.Array:
    return comparable(_whole(column))


def _as_type(keys: pa.Array, kind: pa.DataType) -> pa.Array:
    return keys if keys.type.equals(kind) else keys.cast(kind)


def _looked_up(rows: Any, table: pa.Table, joined: LabelFile | None, labels: Sequence[str]) -> list[pa.Array]:
    assert joined is not None, "there is a table only where one was named"
    ours, theirs = _plain_keys(rows.column(joined.on)), _whole(table.column(KEY))
    try:
        places = pc.index_in(_as_type(ours, theirs.type), value_set=theirs, skip_nulls=True)
    except pa.ArrowException as error:
        raise DataError(
            f"key {joined.on!r} is {ours.type} in the output and {theirs.type} in {joined.path}: {one_line(error)}"
        ) from error
    return [take(_whole(table.column(name)), places) for name in labels]


def _whole(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _add(found: Evaluation, rows: Any, truths: Sequence[pa.Array], names: Sequence[str]) -> None:
    head = found.head
    match head.task:
        case "binary" | "multiclass":
            assert found.classes is not None, "made for the task"
            truth, known = places_of(truths[0], head.labels, names[0])
            predicted, _ = places_of(_whole(rows.column(head.columns[0])), head.labels, head.columns[0])
            probabilities = _probabilities(head, rows)
            found.classes.add(truth[known], predicted[known], None if probabilities is None else probabilities[known])
        case "tagging":
            assert found.classes is not None, "made for the task"
            right, ours = _steps(_whole(rows.column(head.columns[0])), _whole(truths[0]), names[0])
            truth, known = places_of(right, head.labels, names[0])
            predicted, _ = places_of(ours, head.labels, head.columns[0])
            found.classes.add(truth[known], predicted[known], None)
        case "multilabel":
            matrix, known = truths_of(truths, names)
            predicted = np.stack([to_numpy(_whole(rows.column(n))) for n in head.columns[: len(head.labels)]], axis=1)
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
                values = to_numpy(_whole(rows.column(column)))
                one.add(right[place % len(right)][known], values[known])
    found.rows += int(known.sum())
    found.unlabelled += len(known) - int(known.sum())


def _steps(predicted: pa.Array, truth: pa.Array, name: str) -> tuple[pa.Array, pa.Array]:
    """The labels of every step, right ones and predicted ones, of the rows that have right ones.

    Raises:
        DataError: no lists, or of another number of steps.
    """
    if not is_list(truth.type):
        raise DataError(f"label column {name!r} is {truth.type}, and tagging has a list of labels for each row")
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
        flat = _whole(rows.column(f"{base}probabilities")).flatten()
        return np.asarray(to_numpy(flat)).reshape(rows.num_rows, -1)
    if f"{base}probability" in head.columns:
        yes = np.asarray(to_numpy(_whole(rows.column(f"{base}probability"))))
        return np.stack([1 - yes, yes], axis=1)
    names = [f"{base}probability_{label}" for label in head.labels]
    if not set(names) <= set(head.columns):
        return None
    return np.stack([np.asarray(to_numpy(_whole(rows.column(name)))) for name in names], axis=1)
