"""Regroups batches of any size into blocks of one size, so that the rows of a block do not depend on how a file was
written. Independent of the contents."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from ..nested import joined_batches
from ..row_bytes import Sizes, heavy_bytes, row_bytes


class Rebatcher:
    """Collects rows in order and returns them `rows` at a time.

    A block within one batch is a slice of it; only blocks that span batches are copied.

    Args:
        most_bytes: the largest decoded size of the texts, binary values and lists of a block. A block of larger rows is
            shorter, which depends on the rows alone. A single row may be larger.
    """

    def __init__(self, rows: int, most_bytes: int | None = None) -> None:
        self._rows, self._most_bytes = rows, most_bytes
        self._waiting: list[pa.RecordBatch] = []
        self._held = self._held_bytes = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Add a batch; yields the full blocks, each with the bytes that were counted (0 without `most_bytes`)."""
        total = 0 if self._most_bytes is None else heavy_bytes(batch)
        ends = self._ends(batch, total)
        offset = 0
        while offset < batch.num_rows:
            count = min(batch.num_rows - offset, self._rows - self._held, self._fitting(ends, offset))
            full = self._held + count == self._rows or count < batch.num_rows - offset
            piece = batch.slice(offset, count)
            if ends is not None:
                piece_bytes = int(ends[offset + count] - ends[offset])
            else:
                piece_bytes = total if count == batch.num_rows or not total else heavy_bytes(piece)
            if count:
                self._waiting.append(piece)
            self._held, self._held_bytes = self._held + count, self._held_bytes + piece_bytes
            offset += count
            if full:
                yield self._joined()

    def rest(self) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The remaining rows, if any, as one shorter block."""
        if self._waiting:
            yield self._joined()

    def _ends(self, batch: pa.RecordBatch, total: int) -> Sizes | None:
        """The bytes of the rows before each, and of all; None if all of them fit."""
        if self._most_bytes is None or self._held_bytes + total <= self._most_bytes:
            return None
        sizes = row_bytes(batch)
        return None if sizes is None else np.concatenate(([0], np.cumsum(sizes)))

    def _fitting(self, ends: Sizes | None, offset: int) -> int:
        """How many rows of the batch from `offset` on fit into the current block; at least one if it is empty."""
        if ends is None or self._most_bytes is None:
            return self._rows
        room = self._most_bytes - self._held_bytes + int(ends[offset])
        fitting = int(np.searchsorted(ends, room, side="right")) - 1 - offset
        return max(fitting, 0 if self._held else 1)

    def _joined(self) -> tuple[pa.RecordBatch, int]:
        pieces, num_bytes = self._waiting, self._held_bytes
        self._waiting, self._held, self._held_bytes = [], 0, 0
        return joined_batches(pieces) if len(pieces) > 1 else pieces[0], num_bytes


def rebatch(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, `rows` at a time; only the last batch may be shorter.

    Batches without rows yield one empty block, so that their schema is not lost.
    """
    rebatcher, empty, some = Rebatcher(rows), None, False
    for batch in batches:
        empty = batch if empty is None and batch.num_rows == 0 else empty
        some = some or batch.num_rows > 0
        yield from (block for block, _ in rebatcher.add(batch))
    yield from (block for block, _ in rebatcher.rest())
    if empty is not None and not some:
        yield empty
