"""The rows of a partition, in order → blocks that never cross a split, and the end of each split. Knows nothing of
files.

Blocks are counted from the first row of their split, so that a split is cut the same way whether or not those before it
were read in the same run.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import pyarrow as pa

from ..records import ReadBlock, ReadRows, Split
from .rebatch import Rebatcher

#: What the texts, bytes and lists of a block take at most, decoded, unless a single row takes more.
MOST_BLOCK_BYTES = 24 << 20


def cut(
    rows: Iterable[ReadRows],
    *,
    block_rows: int,
    split_rows: int,
    first_row: int = 0,
    kept: Collection[int] = (),
    num_splits: int | None = None,
) -> Iterator[ReadBlock | Split]:
    """Blocks of at most `block_rows` rows and `MOST_BLOCK_BYTES`, then their split, then the next one's.

    Args:
        rows: the rows of the partition from `first_row` on, which begins a split.
        kept: splits that stand already; their rows are passed over.
        num_splits: how many there are, where that is known; nothing is read behind the last that is wanted.

    Yields:
        A `Split` behind its blocks; the last, and where `num_splits` is not known every one, only when the next row, or
        the end, has been seen: a file that holds other rows than it says ends there. A partition without rows is one
        split without blocks.
    """
    opened = _OpenSplit(first_row // split_rows, split_rows, block_rows)
    wanted = opened.index not in kept
    row = first_row
    for read in rows:
        offset = 0
        while offset < read.batch.num_rows:
            if row == opened.stop_row:
                if wanted:
                    yield opened.end(last=False)
                opened = _OpenSplit(opened.index + 1, split_rows, block_rows)
                wanted = opened.index not in kept
                if num_splits is not None and all(n in kept for n in range(opened.index, num_splits)):
                    return
            count = min(read.batch.num_rows - offset, opened.stop_row - row)
            if wanted:
                yield from opened.add(read.batch.slice(offset, count), _within(read.unreadable, offset, count))
            offset, row = offset + count, row + count
            if wanted and row == opened.stop_row and num_splits is not None and opened.index + 1 < num_splits:
                yield opened.end(last=False)
                wanted = False
    if wanted:
        yield from opened.rest()
        yield opened.end(last=True)


class _OpenSplit:
    """The split whose rows go by."""

    def __init__(self, index: int, split_rows: int, block_rows: int) -> None:
        self.index = index
        self.stop_row = (index + 1) * split_rows
        self._first_row = self._taken = self._given = index * split_rows
        self._rebatcher = Rebatcher(block_rows, MOST_BLOCK_BYTES)
        self._unreadable: dict[int, str] = {}

    def add(self, batch: pa.RecordBatch, unreadable: Mapping[int, str]) -> Iterator[ReadBlock]:
        """Take rows; yields the blocks that are full, and the rest with the last row of the split."""
        self._unreadable.update({self._taken + place: reason for place, reason in unreadable.items()})
        self._taken += batch.num_rows
        yield from self._blocks(self._rebatcher.add(batch))
        if self._taken == self.stop_row:
            yield from self.rest()

    def rest(self) -> Iterator[ReadBlock]:
        """The last, shorter block."""
        yield from self._blocks(self._rebatcher.rest())

    def end(self, *, last: bool) -> Split:
        """The split, when all of its rows have gone by."""
        return Split(index=self.index, first_row=self._first_row, num_rows=self._taken - self._first_row, last=last)

    def _blocks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[ReadBlock]:
        for batch in batches:
            first, self._given = self._given, self._given + batch.num_rows
            here = [place for place in self._unreadable if place < self._given]
            unreadable = {place - first: self._unreadable.pop(place) for place in here}
            yield ReadBlock(split=self.index, first_row=first, batch=batch, unreadable=unreadable)


def _within(unreadable: Mapping[int, str], offset: int, count: int) -> dict[int, str]:
    """The entries of some rows of a batch, counted from the first of them."""
    return {place - offset: reason for place, reason in unreadable.items() if offset <= place < offset + count}
