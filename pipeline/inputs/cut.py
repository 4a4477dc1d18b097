"""Cuts the rows of a partition into blocks that never cross a split, and reports the end of each split. Independent of
files.

Blocks are counted from the first row of their split, so that a split is cut the same way whether or not earlier splits
were read in the same run.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import pyarrow as pa

from ..records import ReadBlock, ReadRows, Split
from .rebatch import Rebatcher

#: The largest decoded size of the texts, binary values and lists of a block, unless a single row is larger.
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
    """Yield the blocks of each split, with at most `block_rows` rows and `MOST_BLOCK_BYTES`, followed by the split.

    Args:
        rows: the rows of the partition from `first_row` on, which is the first row of a split.
        kept: splits that already exist; their rows are skipped.
        num_splits: the number of splits, if known; reading ends with the last one that is needed.

    Yields:
        A `Split` after its blocks. The last split, or every split if `num_splits` is not known, is yielded only after
        the next row or the end has been read, so that a file with a wrong number of rows fails first. A partition
        without rows is one split without blocks.
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
    """The split that is being read."""

    def __init__(self, index: int, split_rows: int, block_rows: int) -> None:
        self.index = index
        self.stop_row = (index + 1) * split_rows
        self._first_row = self._added = self._yielded = index * split_rows
        self._rebatcher = Rebatcher(block_rows, MOST_BLOCK_BYTES)
        self._unreadable: dict[int, str] = {}

    def add(self, batch: pa.RecordBatch, unreadable: Mapping[int, str]) -> Iterator[ReadBlock]:
        """Add rows; yields the full blocks, and after the last row of the split the rest."""
        self._unreadable.update({self._added + position: reason for position, reason in unreadable.items()})
        self._added += batch.num_rows
        yield from self._blocks(self._rebatcher.add(batch))
        if self._added == self.stop_row:
            yield from self.rest()

    def rest(self) -> Iterator[ReadBlock]:
        """The last, shorter block."""
        yield from self._blocks(self._rebatcher.rest())

    def end(self, *, last: bool) -> Split:
        """The split, after all of its rows have been added."""
        return Split(index=self.index, first_row=self._first_row, num_rows=self._added - self._first_row, last=last)

    def _blocks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[ReadBlock]:
        for batch in batches:
            first, self._yielded = self._yielded, self._yielded + batch.num_rows
            here = [position for position in self._unreadable if position < self._yielded]
            unreadable = {position - first: self._unreadable.pop(position) for position in here}
            yield ReadBlock(split=self.index, first_row=first, batch=batch, unreadable=unreadable)


def _within(unreadable: Mapping[int, str], offset: int, count: int) -> dict[int, str]:
    """The entries of `count` rows from `offset` on, with positions relative to `offset`."""
    return {position - offset: reason for position, reason in unreadable.items() if offset <= position < offset + count}
