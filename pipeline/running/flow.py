"""A planned partition's blocks through the line: loaded in a reader thread, scored in a lane."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import PartitionError
from ..planning.plan import PlannedPartition
from ..planning.splits import read_splits
from ..records import ScoredBatch, Split
from ..scoring.block import Block, Origin
from ..scoring.line import Line, LineOptions, compose
from ..timing import StageTimes

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from ..model.first_rows import FirstRows
    from ..scoring.loaded import LoadedBundle


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedBlock:
    """A block on its way to the model."""

    planned: PlannedPartition
    block: Block

    @property
    def times(self) -> StageTimes:
        """What the block has cost so far."""
        return self.block.times

    @property
    def num_bytes(self) -> int:
        """What its rows take, keys and features."""
        inputs = self.block.need_features().inputs
        return self.block.batch_bytes + sum(given.nbytes for given in inputs.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredBlock:
    """A block on its way to the part file: nothing of it is kept but what is written."""

    planned: PlannedPartition
    split: int
    first_row: int
    num_rows: int
    scored: ScoredBatch
    times: StageTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitEnd:
    """All blocks of a split have gone by."""

    planned: PlannedPartition
    split: Split
    times: StageTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadFailed:
    """A partition cannot be read on; what was read of the split at hand is not published."""

    error: PartitionError
    times: StageTimes


Loaded = LoadedBlock | SplitEnd | ReadFailed
Scored = ScoredBlock | SplitEnd | ReadFailed


def origin_of(planned: PlannedPartition, first_rows: FirstRows | None = None) -> Origin:
    """Where the rows of a planned partition come from, and what they are written as."""
    return Origin(
        source=planned.partition.name,
        folder=os.path.dirname(planned.partition.path),  # noqa: PTH120 - a Path costs more than a small file's rows
        text=planned.text,
        dialect=planned.dialect,
        schema=planned.schema,
        num_keys=planned.num_keys,
        first_rows=first_rows,
    )


def load_blocks(
    planned: PlannedPartition,
    loaded: LoadedBundle,
    options: LineOptions,
    block_rows: int,
    decoders: ThreadPoolExecutor | None = None,
) -> Generator[Loaded]:
    """Read a partition and load its blocks, in the calling thread.

    Args:
        decoders: decode images; while they do, one of them reads what comes next.
    """
    from ..model.first_rows import FirstRows
    from .lanes import prefetch  # torch, which is here by now

    pieces = read_splits(planned, block_rows)
    if decoders is not None:
        pieces, options = prefetch(pieces, decoders), replace(options, mapper=decoders.map)
    line = compose(loaded, options)
    beginning, later = origin_of(planned, FirstRows()), origin_of(planned)
    while True:
        times = StageTimes()
        try:
            with times.stage("read") as spent:
                piece = next(pieces, None)
        except PartitionError as error:
            yield ReadFailed(error=error, times=times)
            return
        if piece is None:
            return
        if isinstance(piece, Split):
            yield SplitEnd(planned=planned, split=piece, times=times)
            continue
        # Kept parts were scored before: the first rows behind them are the first of the file only where nothing was
        # scored in those. Otherwise an interrupted run could end differently from one that was not.
        block = Block.of(piece, beginning if planned.nothing_scored or piece.split == 0 else later, times)
        spent.rows, spent.bytes = piece.batch.num_rows, block.batch_bytes
        yield LoadedBlock(planned=planned, block=line.load(block))


def score_block(item: Loaded, line: Line) -> Scored:
    """Score a loaded block; what is not a block passes by."""
    if not isinstance(item, LoadedBlock):
        return item
    block = line.score(item.block)
    return ScoredBlock(
        planned=item.planned,
        split=block.split,
        first_row=block.first_row,
        num_rows=block.batch.num_rows,
        scored=block.need_scored(),
        times=block.times,
    )
