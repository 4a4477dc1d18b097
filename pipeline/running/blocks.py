"""Passes the blocks of a planned partition through the line, and the items that a flow handles in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import PartitionError
from ..monitoring.sampling import CELL_BYTES
from ..planning.plan import PlannedPartition
from ..planning.splits import read_splits
from ..records import ScoredBatch, Split
from ..scoring.block import Block, Origin
from ..scoring.line import Line
from ..timing import StageTimes

if TYPE_CHECKING:
    from ..inputs.cut import SplitRange
    from ..model.first_rows import FirstRows
    from ..monitoring.count import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedBlock:
    """A block that is ready for the model."""

    planned: PlannedPartition
    block: Block

    @property
    def times(self) -> StageTimes:
        """The stage times of the block so far."""
        return self.block.times

    @property
    def num_bytes(self) -> int:
        """The size of its rows: keys and features."""
        inputs = self.block.need_features().inputs
        return self.block.batch_bytes + sum(given.nbytes for given in inputs.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredBlock:
    """A block that is ready to be written; holds nothing else."""

    planned: PlannedPartition
    split: int
    first_row: int
    num_rows: int
    scored: ScoredBatch
    times: StageTimes
    sample: Sample | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitEnd:
    """Follows the last block of a split."""

    planned: PlannedPartition
    split: Split
    times: StageTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadFailed:
    """A partition could not be read further; the rows read of the current split are not published."""

    planned: PlannedPartition
    split: int
    error: PartitionError
    times: StageTimes


Loaded = LoadedBlock | SplitEnd | ReadFailed
Scored = ScoredBlock | SplitEnd | ReadFailed


def origin_of(planned: PlannedPartition, first_rows: FirstRows | None = None) -> Origin:
    """The origin of a planned partition's rows, with the schema of the output."""
    return Origin(
        source=planned.partition.name,
        folder=os.path.dirname(planned.partition.path),  # noqa: PTH120 - a Path costs more than a small file's rows
        text=planned.columns.text,
        dialect=planned.columns.dialect,
        schema=planned.columns.schema,
        num_keys=planned.columns.num_keys,
        first_rows=first_rows,
        about_rows=_about_rows(planned),
    )


def _about_rows(planned: PlannedPartition) -> int:
    """The number of rows of a file, or an estimate by its size that does not depend on the options."""
    if planned.num_rows is not None:
        return planned.num_rows
    return planned.partition.size // (CELL_BYTES * max(1, len(planned.columns.header)))


def load_blocks(
    planned: PlannedPartition,
    line: Line,
    block_rows: int,
    splits: SplitRange | None = None,
    first_rows: FirstRows | None = None,
    *,
    threads: bool = False,
    new_times: Callable[[], StageTimes] = StageTimes,
) -> Generator[Loaded]:
    """Read splits of a partition and load their blocks, in the calling thread.

    Args:
        line: a line of this reader's own, since loading stages keep state between blocks.
        splits: some of the splits to score; None: all.
        first_rows: of the file, where the first of these splits may have them.
        threads: read with several threads, since there are more cores than readers.
        new_times: makes the clock of a block.
    """
    splits = planned.splits() if splits is None else splits
    pieces = read_splits(planned, block_rows, splits, threads=threads)
    beginning, later = origin_of(planned, first_rows), origin_of(planned)
    with closing(pieces):
        while True:
            times = new_times()
            try:
                with times.stage("read") as spent:
                    piece = next(pieces, None)
            except PartitionError as error:
                yield ReadFailed(planned=planned, split=splits.current, error=error, times=times)
                return
            if piece is None:
                return
            if isinstance(piece, Split):
                yield SplitEnd(planned=planned, split=piece, times=times)
                continue
            block = Block.of(piece, beginning if planned.nothing_scored or piece.split == 0 else later, times)
            spent.rows, spent.bytes = piece.batch.num_rows, block.batch_bytes
            yield LoadedBlock(planned=planned, block=line.load(block))


def score_block(item: Loaded, line: Line) -> Scored:
    """Score a loaded block; other items are returned unchanged."""
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
        sample=block.sample,
    )
