"""Batches of any size → blocks of one size, so that what is scored together never depends on how a file was
written. Knows nothing of what is in them."""

from collections.abc import Iterable, Iterator

import pyarrow as pa


class Rebatcher:
    """Takes rows in order and gives them back `rows` at a time.

    A block that lies within one batch is a slice of it; only blocks across batches are copied.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._waiting: list[pa.RecordBatch] = []
        self._held = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take a batch; yields the blocks that are full."""
        offset = 0
        while self._held + batch.num_rows - offset >= self._rows:
            piece = batch.slice(offset, self._rows - self._held)
            offset += piece.num_rows
            yield pa.concat_batches([*self._waiting, piece]) if self._waiting else piece
            self._waiting, self._held = [], 0
        if offset < batch.num_rows:
            self._waiting.append(batch.slice(offset))
            self._held += batch.num_rows - offset

    def rest(self) -> Iterator[pa.RecordBatch]:
        """What is left, as one shorter block, if anything is."""
        if self._waiting:
            yield pa.concat_batches(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        self._waiting, self._held = [], 0


def rebatch(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, `rows` at a time; only the last batch may be shorter.

    Batches without any row give one empty block, so that their schema is not lost.
    """
    rebatcher, empty, some = Rebatcher(rows), None, False
    for batch in batches:
        empty = batch if empty is None and batch.num_rows == 0 else empty
        some = some or batch.num_rows > 0
        yield from rebatcher.add(batch)
    yield from rebatcher.rest()
    if empty is not None and not some:
        yield empty
