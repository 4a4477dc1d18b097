"""How many rows to decode at once, so that they take no more than so many bytes, whatever they unpack to.

Numbers take what their type says. Texts are known by the pages they stand in: plain ones take the bytes of their
pages; ones that name an entry of a dictionary may each be its longest. Of lists it is not known which row holds how
many, so those go by what a row of their row group takes on average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .footer import Group
from .leaves import Leaf
from .pages import Page, longest_value, may_overflow, read_pages

#: Numbers that are decoded at once: enough to keep the reader's overhead small, little enough for 1,000 columns.
BATCH_BYTES, MOST_ROWS = 8 << 20, 1 << 16
#: Texts, bytes and lists that are decoded at once.
HEAVY_BYTES = 16 << 20
#: What a value takes beside its bytes: an offset, and the levels that say where it belongs.
_BESIDE = 8


class RowsAtOnce:
    """Of one file. Page headers are read where leaves are not light, where they may claim too much, and of one leaf
    that has a value in each row, since Arrow reads no more rows than a footer says.

    Args:
        leaves: what is to be read.
        counted: the leaves that have a value in each row, whether or not they are read.
    """

    def __init__(
        self, file: BinaryIO, leaves: Sequence[Leaf], counted: Sequence[Leaf], *, block_rows: int, name: str
    ) -> None:
        self._file, self._leaves, self._counted, self._name = file, leaves, counted, name
        light = 8 * max(1, sum(leaf.is_light for leaf in leaves))
        self._most = block_rows * max(1, min(MOST_ROWS, BATCH_BYTES // light) // block_rows)

    def of(self, number: int, group: Group) -> int:
        """The rows of a row group to be decoded at once.

        Raises:
            PartitionError: a page claims to unpack to more than a page may.
        """
        costs, counted = [], False
        for leaf in self._leaves:
            if leaf.is_light and not may_overflow(group.chunks[leaf.index]):
                continue
            pages = self._pages(leaf, number, group)
            counted = counted or not leaf.nested
            if not leaf.is_light:
                costs.append(self._cost(leaf, group, pages))
        known = [leaf for leaf in self._counted if not group.chunks[leaf.index].encrypted]
        if known and not counted:
            self._pages(min(known, key=lambda leaf: group.chunks[leaf.index].packed), number, group)
        rows = self._most
        while rows > 1 and sum(cost.of(rows) for cost in costs) > HEAVY_BYTES:
            rows //= 2
        return rows

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
        """The most bytes of so many rows that follow each other."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Average(_Cost):
    whole: int
    num_rows: int

    def of(self, rows: int) -> int:
        return min(self.whole, -(-self.whole // self.num_rows) * rows)


@dataclass(frozen=True, slots=True)
class _Windows(_Cost):
    """Pages that begin at the rows `starts` and take `sizes` up to there; `each`: what any other value may take."""

    starts: "np.ndarray"
    sizes: "np.ndarray"
    each: int

    def of(self, rows: int) -> int:
        first = np.arange(len(self.starts) - 1)
        last = np.searchsorted(self.starts, self.starts[1:] - 1 + rows - 1, side="right")  # the page behind
        plain = self.sizes[np.minimum(last, len(self.starts) - 1)] - self.sizes[first]
        return int(max(plain, default=0)) + rows * (self.each + _BESIDE)
