"""The rows that a model was trained on → the reference of its bundle: counts of their features, and of the model's own
predictions for them, through the scoring path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ...schemas.profile import Reference
from ...schemas.steps import OneHotStep, OrdinalStep
from ..arrays import to_numpy
from ..bundle.golden import GoldenRows
from ..bundle.heads import head_fields
from ..errors import BundleError, ColumnError, counted
from ..features.kinds import kind_of
from ..inputs.columns import check_columns
from ..inputs.rebatch import rebatch
from ..monitoring.reference import (
    ReferenceRows,
    is_categorical,
    is_numeric,
    is_profiled,
    make_reference,
    profiled_features,
)
from ..nested import in_one_batch, takeable, with_types
from ..options import DEFAULTS
from ..scoring.block import Block
from ..scoring.line import compose, execute
from ..tasks.tasks import task_of
from .sample import evenly_spaced, table_of

if TYPE_CHECKING:
    from ..scoring.loaded import LoadedBundle

#: The most rows that are counted, and where rows have images, texts or lists.
MAX_ROWS, MAX_LARGE_ROWS = 1 << 16, 1 << 11


def golden_reference(loaded: LoadedBundle, golden: GoldenRows) -> Reference:
    """The reference of a bundle without training rows."""
    return _reference(loaded, golden.features, "golden")


def training_reference(loaded: LoadedBundle, given: Any) -> Reference:
    """The reference of training rows: of all, or of evenly spaced ones if there are many.

    Args:
        given: in any form that a sample may have.

    Raises:
        BundleError: no row can be scored.
        ColumnError: a feature is missing, appears twice, or has another type.
    """
    features = loaded.manifest.features
    names = [feature.name for feature in features]
    table = table_of(given, names, what="the reference")
    wrong = next((name for name in names if table.schema.names.count(name) != 1), None)
    if wrong is not None:
        problem = "no" if wrong not in table.schema.names else "more than one"
        raise ColumnError(f"the reference has {problem} column {wrong!r}, which is among the features")
    table = table.select(names).replace_schema_metadata(None)
    if not table.num_rows:
        raise BundleError("the reference has no rows")
    check_columns(table.schema, features, text=(), source="the reference")
    large = not all(kind_of(entry).tabular for entry in loaded.manifest.inputs)
    batch = with_types(in_one_batch(table), takeable)
    rows = evenly_spaced(batch.num_rows, MAX_LARGE_ROWS if large else MAX_ROWS)
    return _reference(loaded, batch if len(rows) == batch.num_rows else batch.take(pa.array(rows)), "training")


def _reference(loaded: LoadedBundle, batch: pa.RecordBatch, source: Any) -> Reference:
    manifest = loaded.manifest
    wanted = profiled_features(manifest.model_features)
    fields = [field for head in manifest.heads for field in head_fields(manifest, head, DEFAULTS)]
    features: dict[str, list[Any]] = {name: [] for name in wanted}
    outputs: dict[str, list[Any]] = {field.name: [] for field in fields if is_profiled(field.type)}
    rejected: dict[str, int] = {}
    num_scored, first_reason = 0, ""
    for loaded_block, scored in _scored(loaded, batch):
        checked = loaded_block.need_checked()
        for name, column in features.items():
            column.append(_numbers(checked.columns[name]) if wanted[name] else checked.columns[name])
        for reject in checked.rejects:
            rejected[reject.column] = rejected.get(reject.column, 0) + len(reject.positions)
        decoded = scored.need_decoded()
        num_scored += decoded.num_rows
        if decoded.rejects and not first_reason:
            first_reason = f"; the first: {decoded.rejects[0].column!r} {decoded.rejects[0].reasons[0]}"
        for field, values in zip(fields, decoded.columns, strict=False):  # later stages add theirs
            if field.name in outputs:
                outputs[field.name].append(_numbers(values) if is_numeric(field.type) else values)
    if not num_scored:
        raise BundleError(f"none of the reference's {counted(batch.num_rows, 'row')} can be scored{first_reason}")
    known: dict[str, Sequence[Any]] = {field.name: (False, True) for field in fields if pa.types.is_boolean(field.type)}
    known |= _vocabularies(manifest) | _labels(manifest)
    known = {name: values for name, values in known.items() if name in wanted or name in outputs}
    return make_reference(
        ReferenceRows(
            source=source,
            rows=batch.num_rows,
            features={name: _joined(parts) for name, parts in features.items()},
            outputs={name: _joined(parts) for name, parts in outputs.items()},
            known=known,
            rejected=rejected,
        )
    )


def _scored(loaded: LoadedBundle, batch: pa.RecordBatch) -> Iterator[tuple[Block, Block]]:
    """The blocks of some rows: as soon as their features are computed, and with their predictions."""
    line = compose(loaded)
    names = [stage.name for stage in line.load_stages]
    features = 1 + names.index("expressions" if "expressions" in names else "check")
    for rows in rebatch(iter([batch]), loaded.block_rows):
        block = execute(line.load_stages[:features], Block(batch=rows))
        yield block, line.score(execute(line.load_stages[features:], block))


def _numbers(values: Any) -> np.ndarray:
    """A column of numbers as float64, NaN where there is none."""
    if isinstance(values, pa.Array):
        values = to_numpy(values.cast(pa.float64()).fill_null(float("nan")))
    return np.asarray(values, dtype=np.float64)


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)


def _vocabularies(manifest: BundleManifest) -> dict[str, Sequence[Any]]:
    """The categories that the steps encode, by feature."""
    return {
        name: encoding.categories
        for step in manifest.steps
        if isinstance(step, OrdinalStep | OneHotStep)
        for name, encoding in zip(step.features, step.encodings, strict=True)
    }


def _labels(manifest: BundleManifest) -> dict[str, Sequence[Any]]:
    """The labels of the columns with one label per row."""
    found: dict[str, Sequence[Any]] = {}
    for head in manifest.heads:
        task = task_of(head)
        for field in head_fields(manifest, head, DEFAULTS)[: task.num_label_columns]:
            if is_categorical(field.type) and not pa.types.is_boolean(field.type):
                found[field.name] = task.labels
    return found
