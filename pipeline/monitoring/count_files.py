"""Counts the rows of several small files at once: the profile of each, as `ProfileBuilder` makes it of the file alone.
Independent of how rows are read and scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.profile import CategoryBins
from ..arrays import to_numpy
from .count import Numbers, Sample, category_codes
from .layout import FIRST_BIN, NULLS, Layout
from .profile import Profile


def count_files(layout: Layout, sample: Sample, ends: Sequence[int]) -> list[Profile]:
    """The profile of each file.

    Args:
        sample: all rows of the files, one after the other; none of them was rejected.
        ends: where the rows of each file end, ascending.
    """
    starts, rows = np.array([0, *ends[:-1]]), np.diff(ends, prepend=0)
    counts = np.zeros((len(ends), layout.num_counts), dtype=np.int64)
    low = np.full((len(ends), len(layout.columns)), np.inf)
    high = -low
    for one in sample.numbers:
        _count_numbers(layout, one, starts, rows, counts, low, high)
    for index, values in sample.categories:
        _count_categories(layout, index, values, rows, counts)
    return [
        Profile(counts=counts[file], low=low[file], high=high[file], sampled=number, rows=number)
        for file, number in enumerate(rows.tolist())
    ]


def _count_numbers(
    layout: Layout,
    one: Numbers,
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Add the counts of some columns, `[files, counts]`, and their smallest and largest values, `[files, columns]`."""
    values, columns = one.values, np.array(one.indices)
    places = np.empty(values.shape, dtype=np.int64)
    for row, index in enumerate(one.indices):
        edges, first, _ = layout.searched[index]
        np.add(edges.searchsorted(values[row]), first, out=places[row])  # as many edges are below as bins are
    if (missing := np.isnan(values)).any():
        np.copyto(places, layout.starts[columns][:, None] + NULLS, where=missing)
    places += np.repeat(np.arange(len(rows)) * layout.num_counts, rows)
    counts += np.bincount(places.ravel(), minlength=counts.size).reshape(counts.shape)
    low[:, columns] = np.fmin(np.fmin.reduceat(values, starts, axis=1).T, np.inf)
    high[:, columns] = np.fmax(np.fmax.reduceat(values, starts, axis=1).T, -np.inf)


def _count_categories(
    layout: Layout, index: int, values: pa.Array, rows: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    bins, start = layout.columns[index].bins, int(layout.starts[index])
    assert isinstance(bins, CategoryBins), "the column has no edges"
    places, _ = category_codes(layout, index, values)
    places = places + start + FIRST_BIN
    if values.null_count:
        places[to_numpy(pc.is_null(values))] = start + NULLS
    places += np.repeat(np.arange(len(rows)) * layout.num_counts, rows)
    counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)
