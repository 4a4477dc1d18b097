"""The columns that a run counts, and where each count is: the bins of a bundle's reference, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ...schemas.profile import ColumnCounts, NumberBins, Reference, ReferenceColumn
from ..arrays import text_array, to_arrow
from ..bundle.bundle import first_problem
from ..digests import sha256
from ..errors import BundleError

if TYPE_CHECKING:
    import pyarrow as pa

    from ..bundle.bundle import Bundle

Counts = NDArray[np.int64]
#: The largest reference.json: one with the most columns takes a tenth of this.
REFERENCE_BYTES = 32 << 20
#: What precedes the bins of each column: nulls, and rows rejected because of it.
NULLS, REJECTED, FIRST_BIN = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The counts of all columns as one array: for each column its nulls, its rejected rows, and its bins.

    `digest`: of reference.json, so that counts are only compared if they have the same layout.
    """

    reference: Reference
    digest: str
    columns: tuple[ReferenceColumn, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", (*self.reference.features, *self.reference.outputs))

    @property
    def num_features(self) -> int:
        """How many of the first columns are features."""
        return len(self.reference.features)

    @cached_property
    def starts(self) -> Counts:
        """int64 `[columns + 1]`: where the counts of each column begin, and their number."""
        widths = [FIRST_BIN + column.bins.num_bins for column in self.columns]
        return np.cumsum([0, *widths], dtype=np.int64)

    @property
    def num_counts(self) -> int:
        """The number of counts of all columns."""
        return int(self.starts[-1])

    @cached_property
    def named(self) -> tuple[tuple[int, str, bool], ...]:
        """The index and name of each column, and whether it is of numbers."""
        return tuple(
            (index, column.name, isinstance(column.bins, NumberBins)) for index, column in enumerate(self.columns)
        )

    @cached_property
    def searched(self) -> tuple[tuple[NDArray[np.float64], int, int], ...]:
        """The edges between the bins of each column, and the counts of the bins that end at one, from the first up to
        the one before the last; no edges for categories."""
        found = []
        for column, start in zip(self.columns, self.starts.tolist(), strict=False):
            edges = np.array(column.bins.edges if isinstance(column.bins, NumberBins) else [], dtype=np.float64)
            found.append((edges, start + FIRST_BIN, start + FIRST_BIN + len(edges)))
        return tuple(found)

    @cached_property
    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The edges of each column, float64 `[columns, most edges]`, and the counts of the bins that end there; NaN and
        −1 where a column has fewer."""
        most = max((len(edges) for edges, *_ in self.searched), default=0)
        values, places = np.full((len(self.columns), most), np.nan), np.full((len(self.columns), most), -1)
        for index, (edges, first, last) in enumerate(self.searched):
            values[index, : len(edges)], places[index, : len(edges)] = edges, np.arange(first, last)
        return values, places

    @cached_property
    def compared(self) -> tuple[Counts, Counts]:
        """For each count the index of the compared bin that it is part of, int64 `[counts]`, and where the compared
        bins of each column begin, int64 `[columns]`. A column's first compared bin has its nulls and rejected rows."""
        groups, starts, start = [], [], 0
        for column in self.columns:
            starts.append(start)
            groups += [start, start, *(start + 1 + group for group in column.bins.compared_bins())]
            start += 1 + column.bins.num_compared
        return np.array(groups, dtype=np.int64), np.array(starts, dtype=np.int64)

    @cached_property
    def reference_counts(self) -> NDArray[np.float64]:
        """The counts of the reference in the compared bins, float64."""
        return self.in_compared_bins(flat_counts(self.columns))

    def in_compared_bins(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Counts `[…, counts]` → float64 `[…, compared bins of all columns]`."""
        groups, _ = self.compared
        first = np.flatnonzero(np.diff(groups, prepend=-1))
        return np.asarray(np.add.reduceat(counts, first, axis=-1) if len(first) else counts, dtype=np.float64)

    @cached_property
    def _positions(self) -> Counts:
        """int64 `[columns, counts of the widest column]`: where each count is, and one more than the last where a
        column has no such count."""
        widths = np.diff(self.starts)
        places = self.starts[:-1, None] + np.arange(widths.max(initial=FIRST_BIN))
        return np.where(places < self.starts[1:, None], places, self.num_counts)

    def rows_of(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Counts of all columns → float64 `[columns, 1 + bins of the widest column]`: a row for each column, with its
        nulls and rejected rows as the first, its bins, and zeros."""
        rows = np.append(counts, 0).astype(np.float64)[self._positions]
        rows[:, REJECTED] += rows[:, NULLS]
        return np.asarray(rows[:, REJECTED:])

    @cached_property
    def centers(self) -> NDArray[np.float64]:
        """float64 `[columns, bins of the widest column]`: the center of each bin, the last one repeated; NaN for
        categories."""
        found = np.full((len(self.columns), max(0, self._positions.shape[1] - FIRST_BIN)), np.nan)
        for row, column in zip(found, self.columns, strict=True):
            if isinstance(column.bins, NumberBins):
                row[:] = column.bins.centers[-1]
                row[: len(column.bins.centers)] = column.bins.centers
        return found

    @cached_property
    def deviations(self) -> NDArray[np.float64]:
        """float64 `[columns]`: the standard deviation of each column of the reference; NaN where it has none, or 0."""
        return np.array([column.std or np.nan for column in self.columns], dtype=np.float64)

    @cached_property
    def categories(self) -> tuple[pa.Array | None, ...]:
        """The categories of each column; None for numbers."""
        return tuple(
            None if isinstance(column.bins, NumberBins) else _category_array(column.bins.categories)
            for column in self.columns
        )


def flat_counts(columns: Sequence[ColumnCounts | ReferenceColumn]) -> NDArray[np.float64]:
    """The counts of all columns, float64 `[counts]`, in the order of a layout."""
    parts = ((column.nulls, column.rejected, *column.counts) for column in columns)
    return np.array(list(chain.from_iterable(parts)), dtype=np.float64)


def _category_array(categories: list[Any]) -> pa.Array:
    """int64, bool or string; by hand, because pyarrow would import pandas first."""
    if categories and not isinstance(categories[0], str):
        return to_arrow(np.array(categories))
    return text_array(categories)


def open_layout(bundle: Bundle) -> Layout | None:
    """The layout of a bundle's reference; None for a bundle without one.

    Raises:
        BundleError: reference.json is invalid, or was changed.
    """
    recorded = bundle.manifest.reference
    if recorded is None:
        return None
    data = bundle.read(recorded.file)
    return Layout(reference=read_reference(data, f"{bundle.name}/{recorded.file}"), digest=sha256(data))


def read_reference(data: bytes, name: str) -> Reference:
    """Parse and validate reference.json. Raises BundleError."""
    if len(data) > REFERENCE_BYTES:
        raise BundleError(f"{name} has {len(data):,} bytes, above the limit of {REFERENCE_BYTES:,} for a reference")
    try:
        return Reference.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(f"{name}: {first_problem(error)}") from error


def encode_reference(reference: Reference) -> bytes:
    """The bytes of reference.json."""
    return reference.model_dump_json(exclude_none=True).encode()
