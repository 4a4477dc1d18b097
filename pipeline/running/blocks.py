"""Passes the blocks of a planned partition through the line, and the items that a flow handles in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from ..errors import PartitionError
from ..monitoring.count_files import count_files
from ..monitoring.sampling import CELL_BYTES
from ..planning.plan import PlannedPartition
from ..planning.splits import read_splits
from ..records import ReadBlock, ScoredBatch, Split
from ..scoring.block import Block, Origin
from ..scoring.line import Line
from ..scoring.together import can_score, divide, join
from ..timing import StageTimes
from .work import SMALL_ROWS, Work

if TYPE_CHECKING:
    from ..inputs.cut import SplitRange
    from ..model.first_rows import FirstRows
    from ..monitoring.count import Sample
    from ..monitoring.layout import Layout
    from ..monitoring.profile import Profile

#: The most bytes of the rows of a file that is loaded together with others, and of those others.
MOST_TOGETHER_BYTES = 4 << 20


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
        return _num_bytes(self.block)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredBlock:
    """A block that is ready to be written; holds nothing else. `sample`: its sampled rows, or `profile` if these have
    been counted; neither if rows are not counted."""

    planned: PlannedPartition
    split: int
    first_row: int
    num_rows: int
    scored: ScoredBatch
    times: StageTimes
    sample: Sample | None = None
    profile: Profile | None = None


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


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeFile:
    """A file of a single block: its rows, before any stage, and its only split."""

    planned: PlannedPartition
    block: Block
    split: Split


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedFiles:
    """Several small files, in one block that is ready for the model."""

    files: tuple[WholeFile, ...]
    block: Block

    @property
    def times(self) -> StageTimes:
        """The stage times of the block so far; each file has the time of its own reading."""
        return self.block.times

    @property
    def num_bytes(self) -> int:
        """The size of the rows, twice: a file may have to be scored alone."""
        return 2 * _num_bytes(self.block)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredFiles:
    """Several small files that are ready to be written: the items of each. `times`: of the work on all of them."""

    items: tuple[ScoredBlock | SplitEnd, ...]
    times: StageTimes


Loaded = LoadedBlock | LoadedFiles | SplitEnd | ReadFailed
Scored = ScoredBlock | ScoredFiles | SplitEnd | ReadFailed


def _num_bytes(block: Block) -> int:
    """The size of the rows of a loaded block: keys and features."""
    return block.batch_bytes + sum(given.nbytes for given in block.need_features().inputs.values())


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


def load_files(
    works: Sequence[Work], line: Line, block_rows: int, *, new_times: Callable[[], StageTimes] = StageTimes
) -> Generator[Loaded]:
    """Read whole small files whose columns are equal, and load them as one block, or several if their rows are large,
    in the calling thread. Files with rejects, or of several blocks, are loaded alone."""
    whole, num_bytes = list[WholeFile](), 0
    for work in works:
        found = _read_whole(work, block_rows, new_times())
        if isinstance(found, ReadFailed):
            yield found
        elif found is None:
            yield from load_blocks(work.planned, line, block_rows, work.splits, work.first_rows, new_times=new_times)
        elif found.block.batch_bytes > MOST_TOGETHER_BYTES or found.split.num_rows > SMALL_ROWS:
            yield from _load_together([found], line, new_times)
        else:
            whole.append(found)
            num_bytes += found.block.batch_bytes
            if num_bytes > MOST_TOGETHER_BYTES:
                yield from _load_together(whole, line, new_times)
                whole, num_bytes = [], 0
    yield from _load_together(whole, line, new_times)


def _load_together(whole: Sequence[WholeFile], line: Line, new_times: Callable[[], StageTimes]) -> Iterator[Loaded]:
    if len(whole) > 1:
        block = line.load(join([file.block for file in whole], new_times()))
        if can_score(block):
            yield LoadedFiles(files=tuple(whole), block=block)
            return
        whole[0].block.times.add(block.times)
    for file in whole:
        yield LoadedBlock(planned=file.planned, block=line.load(file.block))
        yield SplitEnd(planned=file.planned, split=file.split, times=new_times())


def _read_whole(work: Work, block_rows: int, times: StageTimes) -> WholeFile | ReadFailed | None:
    """A file of a single block; None if it has another number of them."""
    planned = work.planned
    try:
        with times.stage("read") as spent, closing(read_splits(planned, block_rows, work.splits)) as pieces:
            found = list(islice(pieces, 2))
    except PartitionError as error:
        return ReadFailed(planned=planned, split=work.splits.current, error=error, times=times)
    match found:
        case [ReadBlock() as piece, Split(last=True) as split] if not piece.unreadable:
            block = Block.of(piece, origin_of(planned, work.first_rows), times)
            spent.rows, spent.bytes = piece.batch.num_rows, block.batch_bytes
            return WholeFile(planned=planned, block=block, split=split)
    return None


def score_block(item: Loaded, line: Line, layout: Layout | None = None) -> Scored:
    """Score a loaded block; other items are returned unchanged.

    Args:
        layout: of the profile; None if rows are not counted.
    """
    match item:
        case LoadedBlock():
            return _scored(item, line)
        case LoadedFiles():
            return _scored_files(item, line, layout)
    return item


def _scored(item: LoadedBlock, line: Line) -> ScoredBlock:
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


def _scored_files(item: LoadedFiles, line: Line, layout: Layout | None) -> ScoredFiles:
    """Files that share a block, or one after the other if that fails for any reason: then it is found for each."""
    files, times = item.files, item.block.times
    try:
        block = line.score(item.block)
        divided = divide(block)
    except Exception:  # whatever a model raises
        divided = None
    if divided is None:
        alone = [_scored(LoadedBlock(planned=file.planned, block=line.load(file.block)), line) for file in files]
        return ScoredFiles(items=_with_ends(alone, files), times=times)
    profiles: Sequence[Profile | None] = [None] * len(files)
    if block.sample is not None and layout is not None:
        with times.stage("profile"):
            profiles = count_files(layout, block.sample, block.ends)
    shared = [
        ScoredBlock(
            planned=file.planned, split=file.split.index, first_row=0, num_rows=file.split.num_rows, scored=scored,
            times=file.block.times, profile=profile,
        )
        for file, scored, profile in zip(files, divided, profiles, strict=True)
    ]  # fmt: skip
    return ScoredFiles(items=_with_ends(shared, files), times=times)


def _with_ends(blocks: Sequence[ScoredBlock], files: Sequence[WholeFile]) -> tuple[ScoredBlock | SplitEnd, ...]:
    """Each block, followed by the end of its split."""
    ends = (SplitEnd(planned=file.planned, split=file.split, times=file.block.times.fresh()) for file in files)
    return tuple(chain.from_iterable(zip(blocks, ends, strict=True)))
