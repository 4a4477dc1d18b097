"""Counts the values of sampled rows in the bins of a reference. Independent of how rows are read and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.profile import CategoryBins
from ..arrays import to_arrow, to_numpy
from ..records import CheckedBatch
from .layout import FIRST_BIN, NULLS, REJECTED, Layout
from .profile import Profile
from .sampling import sampled_positions, sampled_rows

#: The bits of the smallest and largest prediction.
ROUNDED_BITS = 14
#: Which values of a column are counted, by position.
Positions = slice | NDArray[np.int64]


def count_features(layout: Layout, checked: CheckedBatch, *, first_row: int, stride: int) -> Profile:
    """The profile of a block's features, as they are before any step.

    Args:
        checked: all rows of the block, with the rejects so far.
        first_row: the number of its first row in its file.
        stride: the distance between counted rows of that file.
    """
    num_rows = checked.batch.num_rows
    counter = _Counter(layout, range(layout.num_features))
    counter.count(checked.columns, sampled_positions(checked.kept, num_rows, first_row, stride))
    for reject in checked.rejects:
        sampled = int(((reject.positions + first_row) % stride == 0).sum())
        counter.add_rejected(reject.column, sampled)
    rows = len(range(*sampled_rows(num_rows, first_row, stride).indices(num_rows)))
    return counter.profile(sampled=rows, rows=num_rows, stride=stride)


def count_outputs(
    layout: Layout,
    columns: Mapping[str, pa.Array],
    kept: NDArray[np.int64] | None,
    *,
    num_rows: int,
    first_row: int,
    stride: int,
) -> Profile:
    """The profile of a block's predictions, without its numbers of rows. The smallest and largest numbers are rounded
    to 14 bits: the last bits of predictions depend on the number of rows of a forward pass.

    Args:
        columns: by name; those that the reference does not have are not counted.
        kept: the positions of the scored rows among the `num_rows` rows of the block; None: all.
    """
    counter = _Counter(layout, range(layout.num_features, len(layout.columns)))
    counter.count(columns, sampled_positions(kept, num_rows, first_row, stride))
    made = counter.profile(sampled=0, rows=0, stride=stride)
    return replace(made, low=_rounded(made.low), high=_rounded(made.high))


class _Counter:
    """The counts of some columns of a layout."""

    def __init__(self, layout: Layout, columns: range) -> None:
        self._layout, self._columns = layout, columns
        self._profile = Profile.empty(layout)

    def count(self, values: Mapping[str, Any], positions: Positions) -> None:
        """Count the values at some positions of each column."""
        indices, numbers = [], []
        for index, name, is_number in self._layout.named[self._columns.start : self._columns.stop]:
            if (column := values.get(name)) is None:
                continue
            if is_number:
                indices.append(index)
                numbers.append(_numbers(column, positions) if isinstance(column, pa.Array) else column[positions])
            else:
                self._count_categories(index, _taken(column, positions))
        if numbers and len(numbers[0]):
            self._count_numbers(indices, np.array(numbers))

    def _count_numbers(self, indices: Sequence[int], values: NDArray[np.float64]) -> None:
        """Count float64 `[columns, rows]`. Sorting all columns at once and then searching the few edges among the
        values is ten times as fast as searching each value among the edges (measured). The loop has the fewest calls,
        since a block of a thousand columns may have a hundred counted rows."""
        values.sort(axis=1)  # NaN is last
        num_rows = values.shape[1]
        known = np.full(len(indices), num_rows)
        if np.isnan(values[:, -1]).any():
            known -= np.isnan(values).sum(axis=1)
        starts, searched = self._layout.starts, self._layout.searched
        below = np.zeros(self._layout.num_counts, dtype=np.int64)  # a column's: 0, 0, values up to each edge, all
        for row, index in enumerate(indices):
            edges, first, last = searched[index]
            below[first:last] = values[row].searchsorted(edges, "right")
        below[starts[np.array(indices) + 1] - 1] = known
        counts = np.diff(below, prepend=0)
        counts[starts[:-1]] = 0
        counts[starts[indices] + NULLS] = num_rows - known
        self._profile.counts[:] += counts
        some = known > 0
        rows = np.flatnonzero(some)
        self._profile.low[np.array(indices)[some]] = values[rows, 0]
        self._profile.high[np.array(indices)[some]] = values[rows, known[rows] - 1]

    def _count_categories(self, index: int, values: pa.Array) -> None:
        start, end = self._layout.starts[index : index + 2]
        nulls, bins = _categories(self._layout, index, values)
        self._profile.counts[start + FIRST_BIN : end] += bins
        self._profile.counts[start + NULLS] += nulls

    def add_rejected(self, name: str, number: int) -> None:
        """Count rows that were rejected because of a column."""
        for index in self._columns if name and number else ():
            if self._layout.columns[index].name == name:
                self._profile.counts[self._layout.starts[index] + REJECTED] += number

    def profile(self, *, sampled: int, rows: int, stride: int) -> Profile:
        """The counts so far."""
        made = self._profile
        return Profile(counts=made.counts, low=made.low, high=made.high, sampled=sampled, rows=rows, stride=stride)


def _numbers(column: pa.Array, positions: Positions) -> NDArray[np.float64]:
    """Some values of an Arrow column of numbers, float64, NaN where there is none."""
    if not column.null_count:
        return np.asarray(to_numpy(column)[positions], dtype=np.float64)
    return np.asarray(_filled(column.cast(pa.float64(), safe=False), np.nan)[positions])


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(mantissa * (1 << ROUNDED_BITS)), exponent - ROUNDED_BITS))


def _filled(array: pa.Array, value: float) -> NDArray[Any]:
    """The values of an array of numbers, with another in place of nulls; Arrow's own `fill_null` imports pandas."""
    if not array.null_count:
        return to_numpy(array)
    plain = pa.Array.from_buffers(array.type, len(array), [None, array.buffers()[1]], offset=array.offset)
    return np.where(to_numpy(array.is_valid()), to_numpy(plain), value)


def _taken(column: Any, positions: Positions) -> pa.Array:
    if isinstance(positions, slice):
        positions = np.arange(*positions.indices(len(column)), dtype=np.int64)
    return column.take(to_arrow(positions))


def _categories(layout: Layout, index: int, values: pa.Array) -> tuple[int, NDArray[np.int64]]:
    """The number of nulls, and of the values in each bin of a column."""
    bins, known = layout.columns[index].bins, layout.categories[index]
    assert isinstance(bins, CategoryBins), "the column has no edges"
    assert known is not None, "the column has no edges"
    named, others, unseen = bins.named, bins.named, bins.named + (1 if bins.complete else 0)
    codes = _filled(pc.index_in(values, value_set=known.cast(values.type)), len(known))
    into = np.full(len(known) + 1, others, dtype=np.int64)
    into[:named], into[-1] = np.arange(named), unseen
    counts = np.bincount(into[codes], minlength=bins.num_bins)
    nulls = values.null_count
    counts[unseen] -= nulls  # index_in finds no null among the categories
    return nulls, counts
