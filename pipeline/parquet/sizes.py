"""How many rows to decode at once, so that their decoded size is bounded.

The size of numbers follows from their type. The size of texts is estimated from their pages: plain pages have the bytes
of their texts; every value of a page that refers to a dictionary may be the longest entry. The lengths of single lists
are unknown, so lists are estimated by the average row of their row group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .footer import Group
from .leaves import Leaf
from .pages import Page, longest_value, may_overflow, read_pages

#: Bytes of numbers decoded at once: large enough to keep the reader's overhead small, small enough for 1,000 columns.
BATCH_BYTES, MOST_ROWS = 8 << 20, 1 << 16
#: Bytes of texts, binary values and lists decoded at once.
HEAVY_BYTES = 16 << 20
#: The overhead of a value: its offset, and its definition and repetition levels.
_BESIDE = 8


class RowsAtOnce:
    """Estimates the rows to decode at once for one file. Reads page headers of leaves that are not light or may be too
    large, and of one leaf with a value in each row, since Arrow never reads more rows than the footer declares.

    Args:
        leaves: the leaves to be read.
        counted: the leaves that have one value per row, whether or not they are read.
    """

    def __init__(
        self, file: BinaryIO, leaves: Sequence[Leaf], counted: Sequence[Leaf], *, block_rows: int, name: str
    ) -> None:
        self._file, self._leaves, self._counted, self._name = file, leaves, counted, name
        light = 8 * max(1, sum(leaf.is_light for leaf in leaves))
        self._most = block_rows * max(1, min(MOST_ROWS, BATCH_BYTES // light) // block_rows)

    def of(self, number: int, group: Group) -> int:
        """How many rows of a row group to decode at once.

        Raises:
            PartitionError: a page is too large when unpacked.
        """
        costs, counted = [], False
        for leaf in self._leaves:
            if leaf.is_light and not may_overflow(group.chunks[leaf.index]):
                continue
            pages = self._pages(leaf, number, group)
            counted = counted or not leaf.nested
            if not leaf.is_light:
                costs.append(self._cost(leaf, group, pages))
        if not counted and (smallest := self._smallest(group)) is not None:
            self._pages(smallest, number, group)
        rows = self._most
        while rows > 1 and sum(cost.of(rows) for cost in costs) > HEAVY_BYTES:
            rows //= 2
        return rows

    def leaves_read(self, group: Group) -> list[Leaf]:
        """The leaves of which `of` or a reader of the rows reads pages."""
        smallest = self._smallest(group)
        return [*self._leaves, *([] if smallest is None or smallest in self._leaves else [smallest])]

    def _smallest(self, group: Group) -> Leaf | None:
        """The smallest of the leaves that have one value per row; None if it cannot be read."""
        known = [leaf for leaf in self._counted if not group.chunks[leaf.index].encrypted]
        return min(known, key=lambda leaf: group.chunks[leaf.index].packed, default=None)

    def _pages(self, leaf: Leaf, number: int, group: Group) -> list[Page]:
        where = f"column {leaf.path!r} of row group {number}"
        return read_pages(self._file, group.chunks[leaf.index], name=self._name, where=where)

    def _cost(self, leaf: Leaf, group: Group, pages: Sequence[Page]) -> "_Cost":
        chunk, longest = group.chunks[leaf.index], leaf.width or 0
        if leaf.width is None:
            enough = HEAVY_BYTES // self._most
            dictionaries = [page for page in pages if page.is_dictionary]
            longest = max(
                (longest_value(self._file, chunk, page, enough=enough) for page in dictionaries), default=0
            )  # fmt: skip
        data = [page for page in pages if not page.is_dictionary]
        each = [longest if page.by_dictionary else page.size if page.by_prefix else 0 for page in data]
        if leaf.nested:
            each = [(leaf.width or weight) + _BESIDE for weight in each]
            whole = sum(page.size + page.values * weight for page, weight in zip(data, each, strict=True))
            return _Average(whole, max(1, group.num_rows))
        starts = np.cumsum([0, *(page.values for page in data)])
        sizes = np.cumsum([0, *(0 if weight else page.size for page, weight in zip(data, each, strict=True))])
        return _Windows(starts, sizes, max([*each, leaf.width or 0]))


class _Cost:
    def of(self, rows: int) -> int:
        """The largest number of bytes of `rows` consecutive rows."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Average(_Cost):
    whole: int
    num_rows: int

    def of(self, rows: int) -> int:
        return min(self.whole, -(-self.whole // self.num_rows) * rows)


@dataclass(frozen=True, slots=True)
class _Windows(_Cost):
    """Pages: `starts` are their first rows, `sizes` the cumulative bytes; `each`: the bytes that any other value may
    take."""

    starts: "np.ndarray"
    sizes: "np.ndarray"
    each: int

    def of(self, rows: int) -> int:
        first = np.arange(len(self.starts) - 1)
        last = np.searchsorted(self.starts, self.starts[1:] - 1 + rows - 1, side="right")  # the next page
        plain = self.sizes[np.minimum(last, len(self.starts) - 1)] - self.sizes[first]
        return int(max(plain, default=0)) + rows * (self.each + _BESIDE)
