"""Cuts the rows of a partition into blocks that never cross a split, and reports the end of each split. Independent of
files.

Blocks are counted from the first row of their split, so that a split is cut the same way whether or not earlier splits
were read in the same run.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from threading import Lock

import pyarrow as pa

from ..records import ReadBlock, ReadRows, Split
from ..row_bytes import light_bytes
from .rebatch import Rebatcher

#: The largest decoded size of the texts, binary values and lists of a block, unless a single row is larger.
MOST_BLOCK_BYTES = 24 << 20


class SplitRange:
    """Consecutive splits of a partition that one reader reads in order; another thread may take over the later ones.

    Args:
        start: the first split.
        stop: the split after the last one; None: to the end of the file.
        kept: splits within the range that already exist; their rows are skipped.
    """

    def __init__(self, start: int = 0, stop: int | None = None, kept: Collection[int] = ()) -> None:
        self.start = start
        self._stop, self._kept = stop, kept
        self._next = start
        self._lock = Lock()

    def take(self, split: int) -> bool:
        """Whether the reader is to read this split. Splits are asked for in order, each before its first row."""
        with self._lock:
            if self._stop is not None and split >= self._stop:
                return False
            self._next = split + 1
            return split not in self._kept

    def ends_at(self, split: int) -> bool:
        """Whether none of the splits from this one on is to be read."""
        with self._lock:
            stop = self._stop
        return stop is not None and all(later in self._kept for later in range(split, stop))

    @property
    def current(self) -> int:
        """The split that the reader has reached."""
        return max(self.start, self._next - 1)

    def num_left(self) -> int:
        """The number of splits that the reader has not reached; 0 where it is unknown."""
        with self._lock:
            return 0 if self._stop is None else self._stop - self._next

    def split_off(self, starts: Iterable[int]) -> "SplitRange | None":
        """Remove the later half, and return it.

        Args:
            starts: the splits at which another reader can begin, ascending.

        Returns:
            None if no split that the reader has not reached is among `starts`.
        """
        with self._lock:
            if self._stop is None:
                return None
            begins = [split for split in starts if self._next < split < self._stop and split not in self._kept]
            if not begins:
                return None
            middle = (self._next + self._stop) / 2
            begin = min(begins, key=lambda split: abs(split - middle))
            later = SplitRange(begin, self._stop, self._kept)
            self._stop = begin
            return later

    def end_before(self, split: int) -> None:
        """Leave out this split and all later ones."""
        with self._lock:
            self._stop = split if self._stop is None else min(split, self._stop)


def cut(
    rows: Iterable[ReadRows],
    splits: SplitRange | None = None,
    *,
    block_rows: int,
    split_rows: int,
    num_splits: int | None = None,
) -> Iterator[ReadBlock | Split]:
    """Yield the blocks of each split, with at most `block_rows` rows and `MOST_BLOCK_BYTES`, followed by the split.

    Args:
        rows: the rows of the partition from the first row of the first split on.
        splits: the splits to yield (None: all); reading ends with the last one.
        num_splits: the number of splits of the file, if known.

    Yields:
        A `Split` after its blocks. The last split of the file, or every split if `num_splits` is not known, is yielded
        only after the next row or the end has been read, so that a file with a wrong number of rows fails first. A
        partition without rows is one split without blocks.
    """
    splits = SplitRange(stop=num_splits) if splits is None else splits
    opened = _OpenSplit(splits.start, split_rows, block_rows)
    wanted = splits.take(opened.index)
    row = splits.start * split_rows
    for read in rows:
        offset = 0
        while offset < read.batch.num_rows:
            if row == opened.stop_row:
                if wanted:
                    yield opened.end(last=False)
                opened = _OpenSplit(opened.index + 1, split_rows, block_rows)
                if splits.ends_at(opened.index):
                    return
                wanted = splits.take(opened.index)
            count = min(read.batch.num_rows - offset, opened.stop_row - row)
            if wanted:
                yield from opened.add(read.batch.slice(offset, count), _within(read.unreadable, offset, count))
            offset, row = offset + count, row + count
            if wanted and row == opened.stop_row and num_splits is not None and opened.index + 1 < num_splits:
                yield opened.end(last=False)
                wanted = False
                if splits.ends_at(opened.index + 1):
                    return
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

    def _blocks(self, batches: Iterable[tuple[pa.RecordBatch, int]]) -> Iterator[ReadBlock]:
        for batch, heavy in batches:
            num_bytes = heavy + light_bytes(batch.schema) * batch.num_rows
            first, self._yielded = self._yielded, self._yielded + batch.num_rows
            here = [position for position in self._unreadable if position < self._yielded]
            unreadable = {position - first: self._unreadable.pop(position) for position in here}
            yield ReadBlock(split=self.index, first_row=first, batch=batch, num_bytes=num_bytes, unreadable=unreadable)


def _within(unreadable: Mapping[int, str], offset: int, count: int) -> dict[int, str]:
    """The entries of `count` rows from `offset` on, with positions relative to `offset`."""
    return {position - offset: reason for position, reason in unreadable.items() if offset <= position < offset + count}
