"""An output with attributions → the importance of each feature. Holds only sums."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...schemas.run import RunManifest
from ..arrays import to_numpy
from ..bundle.explain import ATTRIBUTION, COMPLETE, GAP
from ..errors import DataError, PartitionError, UsageError, one_line
from ..outputs.finished import read_finished
from ..outputs.manifest import read_record
from ..outputs.stores import open_store
from ..parquet.file import ParquetSource, require_columns
from ..storage.folders import listing_error


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureImportance:
    """The mean absolute attribution of a feature, its mean attribution, and the largest absolute one."""

    feature: str
    mean_absolute: float
    mean: float
    largest: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """The features, most important first. `rows`: the number of rows with attributions; `largest_gap`: the largest
    difference between the sum of attributions and the difference in score, None for methods without this guarantee."""

    method: str
    rows: int
    features: tuple[FeatureImportance, ...]
    largest_gap: float | None


def importance(output: str, advance: Callable[[int], object] = lambda _: None) -> Importance:
    """Read the attributions of a finished run.

    Args:
        output: the output of `scoreline score --explain`.
        advance: called with the number of rows read since the last call.

    Raises:
        NoInputError: the folder is not an output of Scoreline.
        DataError: the run is not complete, or a part cannot be read.
        UsageError: the output has no attributions.
    """
    store = open_store(output, failed=listing_error)
    manifest = read_finished(store)
    method, prefix = manifest.options.get("explain"), str(manifest.options.get("prefix") or "")
    if not method:
        raise UsageError(f"{output}: the output has no attributions; score it with --explain shapley")
    sums: dict[str, np.ndarray] = {}  # by column: rows, sum of absolute values, sum, largest absolute value
    for name in [part.target for part in read_record(store, manifest).parts()]:
        try:
            with ParquetSource(store.path(name), name=name) as source:
                columns = _columns(source, manifest, prefix)
                for batch in source.read_batches(columns):
                    for column in columns:
                        _add(sums.setdefault(column.removeprefix(prefix), np.zeros(4)), batch.column(column))
                    advance(batch.num_rows)
        except PartitionError as error:
            raise DataError(f"{one_line(error)}; run scoreline verify") from error
    gaps = sums.pop(GAP, None) if str(method).split()[0] in COMPLETE else None
    features = [_feature_importance(column.removeprefix(ATTRIBUTION), found) for column, found in sums.items()]
    return Importance(
        method=str(method).split()[0],
        rows=int(max((found[0] for found in sums.values()), default=0)),
        features=tuple(sorted(features, key=lambda one: -one.mean_absolute)),
        largest_gap=None if gaps is None else float(gaps[3]),
    )


def _columns(source: ParquetSource, manifest: RunManifest, prefix: str) -> list[str]:
    """The attribution columns of a part: they follow its predictions; keys precede them. Constant columns, which may
    have such a name, are text."""
    predictions = [column for head in manifest.heads for column in head.columns]
    require_columns(source, predictions)
    schema = source.schema()
    behind = schema.names[max(schema.names.index(column) for column in predictions) + 1 :]
    numbers = [name for name in behind if schema.field(name).type == pa.float32()]
    return [name for name in numbers if name.startswith(prefix + ATTRIBUTION)]


def _add(found: np.ndarray, column: pa.Array) -> None:
    values = to_numpy(column.drop_null()).astype(np.float64)
    found[:3] += len(values), np.abs(values).sum(), values.sum()
    found[3] = max(found[3], np.abs(values).max(initial=0.0))


def _feature_importance(feature: str, found: np.ndarray) -> FeatureImportance:
    rows = max(1.0, found[0])
    return FeatureImportance(
        feature=feature, mean_absolute=float(found[1] / rows), mean=float(found[2] / rows), largest=float(found[3])
    )
