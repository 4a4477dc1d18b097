"""Makes the reference of a bundle from rows: the bins of every column, and how many of the rows are in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.inputs import Feature
from ...schemas.profile import CategoryBins, NumberBins, Reference, ReferenceColumn
from ..arrays import to_numpy
from .profile import BIN_BYTES, COLUMN_BYTES, COLUMNS_BYTES

#: Bins that drift is computed from, and those of a small reference; the bars of a picture.
COMPARED, COMPARED_OF_SMALL, SHOWN = 20, 10, 24
#: The rows of a small reference: its quantiles are less precise.
SMALL_ROWS = 2000
#: The fewest bins of a column; a table with more columns than have room for them is profiled in part.
FEWEST_BINS = 4
MAX_COLUMNS = COLUMNS_BYTES // (COLUMN_BYTES + FEWEST_BINS * BIN_BYTES)
#: The most categories that are all listed, and their longest text. Of others (identifiers, sentences), only those with
#: at least this share of the rows are, so that a reference contains no rows.
MAX_CATEGORIES, MAX_LETTERS, FREQUENT = 256, 200, 0.01
#: The share of values outside the outer bars of a picture, on each side.
TAIL = 0.005
NUMBERS, CATEGORIES = ("float64", "float32", "int64", "bool"), ("integer", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceRows:
    """Columns of rows that a reference is made from. `values`: by name, float64 `[rows]` or an Arrow array; `known`:
    by name, the categories that the bundle itself lists; `rejected`: by name, the rows that could not be scored because
    of the column; `rows`: of all columns, those included."""

    source: Literal["training", "golden"]
    rows: int
    features: Mapping[str, Any]
    outputs: Mapping[str, Any]
    known: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)


def profiled_features(features: Sequence[Feature]) -> dict[str, bool]:
    """The features that have a profile, numbers and categories, by name; the value says whether they are numbers."""
    return {one.name: one.dtype in NUMBERS for one in features if one.dtype in (*NUMBERS, *CATEGORIES)}


def is_profiled(arrow_type: pa.DataType) -> bool:
    """Whether an output column of a type has a profile: numbers, booleans and text, not lists."""
    return is_numeric(arrow_type) or is_categorical(arrow_type)


def is_numeric(arrow_type: pa.DataType) -> bool:
    """Whether an output column of a type is counted in bins of numbers."""
    return bool(pa.types.is_floating(arrow_type))


def is_categorical(arrow_type: pa.DataType) -> bool:
    """Whether each value of an output column of a type is a category."""
    types = pa.types
    return bool(types.is_boolean(arrow_type) or types.is_integer(arrow_type) or types.is_string(arrow_type))


def make_reference(rows: ReferenceRows) -> Reference:
    """The reference of some rows.

    The number of bins depends on the number of columns, so that the profile of a part has at most 64 kB, and on the
    number of rows. Of more than 1,612 columns, the first are profiled.
    """
    outputs = dict(list(rows.outputs.items())[: MAX_COLUMNS // 2])
    features = dict(list(rows.features.items())[: MAX_COLUMNS - len(outputs)])
    compared, shown = _num_bins(len(features) + len(outputs), rows.rows)

    def column(name: str, values: Any, *, predicted: bool = False) -> ReferenceColumn:
        rejected = rows.rejected.get(name, 0)
        if isinstance(values, np.ndarray):
            bins = _number_bins(np.sort(values[np.isfinite(values)]), compared, shown, between=predicted)
            return _number_column(name, values, rejected, bins)
        complete = rows.source == "training" or name in rows.known
        return _category_column(name, values, rejected, compared, rows.known.get(name, ()), complete=complete)

    return Reference(
        source=rows.source,
        rows=rows.rows,
        features=[column(name, values) for name, values in features.items()],
        outputs=[column(name, values, predicted=True) for name, values in outputs.items()],
    )


def _num_bins(num_columns: int, num_rows: int) -> tuple[int, int]:
    """The bins that drift is computed from, and the bars of a picture; 0 where there is no room for them."""
    room = (COLUMNS_BYTES // max(1, num_columns) - COLUMN_BYTES) // BIN_BYTES
    wanted = COMPARED if num_rows >= SMALL_ROWS else COMPARED_OF_SMALL
    return min(wanted, room), SHOWN if room >= wanted + SHOWN else 0


def _number_column(
    name: str, values: NDArray[np.float64], rejected: int, found: tuple[NumberBins, NDArray[np.int64]]
) -> ReferenceColumn:
    known, (bins, counts) = values[np.isfinite(values)], found
    with np.errstate(over="ignore", invalid="ignore"):
        moments = (known.min(), known.max(), known.mean(), known.std()) if len(known) else (np.nan,) * 4
    low, high, mean, std = (float(one) if np.isfinite(one) else None for one in moments)
    return ReferenceColumn(
        name=name, bins=bins, counts=counts.tolist(), nulls=len(values) - len(known), rejected=rejected,
        low=low, high=high, mean=mean, std=std,
    )  # fmt: skip


def _number_bins(
    known: NDArray[np.float64], compared: int, shown: int, *, between: bool
) -> tuple[NumberBins, NDArray[np.int64]]:
    """The bins of sorted numbers, and how many are in each.

    Args:
        between: put the edges between two values, instead of on one: predictions of the same rows, whose last bits may
            differ, are then in the same bins.
    """
    quantiles = known[np.arange(1, compared) * len(known) // compared] if len(known) else known
    if between and len(known):
        above = known[np.minimum(known.searchsorted(quantiles, side="right"), len(known) - 1)]
        quantiles = quantiles / 2 + above / 2
    bars = np.empty(0)
    if shown and len(known):
        ends = known[[int(TAIL * len(known)), int((1 - TAIL) * (len(known) - 1))]]
        with np.errstate(over="ignore", invalid="ignore"):
            bars = np.linspace(ends[0], ends[1], shown - 1)
        bars = np.array([float(f"{bar:.6g}") for bar in bars[np.isfinite(bars)].tolist()])
    edges = np.unique(np.concatenate([quantiles, bars]))
    below = known.searchsorted(edges, side="right")
    counts = np.diff(below, prepend=0, append=len(known))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sums = np.diff(np.concatenate([[0.0], np.cumsum(known)])[np.concatenate([[0], below, [len(known)]])])
        means = sums / counts
    centers = np.zeros(1)
    if len(edges):
        lower, upper = np.concatenate([edges[:1], edges]), np.concatenate([edges, [max(edges[-1], known[-1])]])
        lower[0] = min(edges[0], known[0])
        middle = lower / 2 + upper / 2
        centers = np.clip(np.where(counts > 0, np.nan_to_num(means), middle), lower, upper)
    indices = [np.flatnonzero(np.isin(edges, each)).tolist() for each in (quantiles, bars)]
    return NumberBins(
        edges=edges.tolist(),
        compared=indices[0],
        shown=indices[1] or indices[0],
        centers=[float(f"{center:.6g}") for center in centers.tolist()],
    ), counts


def _is_short(value: Any) -> bool:
    return not isinstance(value, str) or len(value) <= MAX_LETTERS


def _category_column(
    name: str, values: pa.Array, rejected: int, compared: int, known: Sequence[Any], *, complete: bool
) -> ReferenceColumn:
    found = pc.value_counts(values.drop_null())
    counted = dict(zip(found.field(0).to_pylist(), to_numpy(found.field(1)).tolist(), strict=True))
    ordered = sorted(counted, key=lambda value: (-counted[value], value))
    listed = set(counted)
    ordered += [value for value in dict.fromkeys(known) if value not in listed]
    complete = complete and len(ordered) <= MAX_CATEGORIES and all(map(_is_short, ordered))
    categories = ordered
    if not complete:
        fewest = max(2, FREQUENT * len(values))
        categories = [value for value in ordered if counted.get(value, 0) >= fewest and _is_short(value)]
    named = min(compared - 2, len(categories))
    counts = [counted.get(value, 0) for value in categories[:named]]
    others = len(values) - values.null_count - sum(counts)
    return ReferenceColumn(
        name=name,
        bins=CategoryBins(categories=categories, named=named, complete=complete),
        counts=[*counts, others, 0],
        nulls=values.null_count,
        rejected=rejected,
    )
