"""Batches of any size → blocks of one size, so that what is scored together never depends on how a file was
written. Knows nothing of what is in them."""

from collections.abc import Iterable, Iterator

import pyarrow as pa


def rebatch(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, `rows` at a time; only the last batch may be shorter.

    A block that lies within one batch is a slice of it; only blocks across batches are copied. Batches without
    any row give one empty block, so that their schema is not lost.
    """
    waiting: list[pa.RecordBatch] = []
    held, empty, some = 0, None, False
    for batch in batches:
        empty = batch if empty is None and batch.num_rows == 0 else empty
        offset = 0
        while held + batch.num_rows - offset >= rows:
            piece = batch.slice(offset, rows - held)
            offset += piece.num_rows
            yield pa.concat_batches([*waiting, piece]) if waiting else piece
            waiting, held, some = [], 0, True
        if offset < batch.num_rows:
            waiting.append(batch.slice(offset))
            held += batch.num_rows - offset
    if waiting:
        yield pa.concat_batches(waiting) if len(waiting) > 1 else waiting[0]
    elif empty is not None and not some:
        yield empty
