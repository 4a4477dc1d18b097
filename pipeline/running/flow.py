"""A planned partition's blocks through the stages: loaded in a reader thread, scored in a lane."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ModelFailedError, PartitionError
from ..options import ColumnOptions
from ..outputs.assemble import assemble, assemble_rejects
from ..planning.plan import PlannedPartition
from ..planning.splits import read_splits
from ..records import FeatureBatch, ScoredBatch, Split, dense
from ..row_bytes import batch_bytes
from ..timing import StageTimes

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa

    from ..features.kind import Mapper
    from ..model.first_rows import FirstOfBlock
    from ..scoring.scorer import Scorer
    from ..scoring.stages.dedupe import Repeats


@dataclass(kw_only=True, slots=True)
class ScoredBlock:
    """A block on its way to the part file."""

    planned: PlannedPartition
    split: int
    first_row: int
    block: ScoredBatch
    num_rows: int
    times: StageTimes


@dataclass(kw_only=True, slots=True)
class SplitEnd:
    """All blocks of a split have gone by."""

    planned: PlannedPartition
    split: Split
    times: StageTimes


@dataclass(kw_only=True, slots=True)
class ReadFailed:
    """A partition cannot be read on; what was read of the split at hand is not published."""

    error: PartitionError
    times: StageTimes


@dataclass(kw_only=True, slots=True)
class LoadedBlock:
    """A block on its way to the model. `num_bytes`: what its rows take, keys and features."""

    planned: PlannedPartition
    split: int
    first_row: int
    features: FeatureBatch
    first: FirstOfBlock | None
    repeats: Repeats | None
    times: StageTimes
    num_bytes: int


def load_blocks(
    planned: PlannedPartition,
    scorer: Scorer,
    rows: int,
    *,
    dedupe: bool = False,
    decoders: ThreadPoolExecutor | None = None,
) -> Generator[LoadedBlock | SplitEnd | ReadFailed]:
    """read → check → scale, images on the way and the rows that repeat, in a reader thread.

    Args:
        decoders: decode images; while they do, one of them reads what comes next.
    """
    from ..model.first_rows import FirstRows
    from ..scoring.stages.dedupe import SplitTable  # torch, which is here by now
    from .lanes import one_ahead

    pieces = read_splits(planned, rows)
    mapper: Mapper = map
    if decoders is not None:
        pieces, mapper = one_ahead(pieces, decoders), decoders.map
    table, first = SplitTable(), FirstRows()
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
            table = SplitTable()
            continue
        batch, size = piece.batch, batch_bytes(piece.batch)
        spent.rows, spent.bytes = batch.num_rows, size
        with times.stage("check") as spent:
            checked = scorer.check(batch, text=planned.text, dialect=planned.dialect, unreadable=piece.unreadable)
            spent.rows, spent.bytes = batch.num_rows, size
        if scorer.images:
            with times.stage("images") as spent:
                spent.rows, folder = checked.num_kept, os.path.dirname(planned.partition.path)  # noqa: PTH120
                checked = scorer.decode_images(checked, folder, mapper)
                spent.bytes = checked.num_kept * 4 * scorer.values_per_row()
        with times.stage("scale") as spent:
            features = scorer.scale(checked)
            spent.rows = features.num_kept
            spent.bytes = sum(given.nbytes for given in features.inputs.values())
        repeats = None
        if dedupe and features.num_kept:
            with times.stage("dedupe") as spent:
                repeats = table.find(dense(features.inputs))
                spent.rows = features.num_kept
        # Parts that stand were made before: the first rows behind them are the first of the file only where nothing
        # was scored in those. Else an interrupted run could end otherwise than one that was not.
        fresh = features.num_kept if repeats is None else len(repeats.fresh)
        yield LoadedBlock(
            planned=planned,
            split=piece.split,
            first_row=piece.first_row,
            features=features,
            first=first.announce(fresh) if planned.nothing_scored or piece.split == 0 else None,
            repeats=repeats,
            times=times,
            num_bytes=size + sum(given.nbytes for given in features.inputs.values()),
        )


def score_block(item: LoadedBlock, scorer: Scorer, options: ColumnOptions) -> ScoredBlock:
    """transfer → forward → decode, in a lane."""
    times, features, planned = item.times, item.features, item.planned
    source = planned.partition.name
    scored = features if item.repeats is None else scorer.only(features, item.repeats.fresh)
    with times.stage("transfer") as spent:
        moved = scorer.transfer(scored)
        spent.rows, spent.bytes = scored.num_kept, sum(t.nbytes for t in scored.inputs.values())
    with times.stage("forward") as spent:
        try:
            raw = scorer.forward(moved, first=item.first)
        except ModelFailedError as error:
            last = item.first_row + features.batch.num_rows - 1
            raise ModelFailedError(f"{source}: rows {item.first_row} to {last}: {error}") from error
        spent.rows, spent.bytes = scored.num_kept, sum(t.nbytes for t in raw.heads.values())
    if item.repeats is not None:
        raw, moved = scorer.repeated(raw, item.repeats), features
    for stage, seconds in raw.device_s.items():  # the clock here has measured the queue as well, or all in one
        times[stage].busy_s = seconds
        times[stage].rows = scored.num_kept
    if item.repeats is not None and (options.hidden or options.explain):
        moved = scorer.transfer(features)
    hidden: list[pa.Array] = []
    if options.hidden:
        with times.stage("hidden") as spent:
            hidden = scorer.hidden(moved, raw)
            spent.rows, spent.bytes = features.num_kept, sum(column.nbytes for column in hidden)
    with times.stage("decode"):
        decoded = scorer.decode(moved, raw, options, hidden)
    if options.explain:
        with times.stage("explain") as spent:
            decoded, spent.rows = scorer.explain(moved, decoded, options, source=source, first_row=item.first_row)
    with times.stage("decode") as spent:
        block = ScoredBatch(
            rows=assemble(features.batch, decoded.kept, decoded.columns, planned.schema),
            rejects=assemble_rejects(features.batch, decoded.rejects, source=source, first_row=item.first_row),
            out_of_bounds=decoded.out_of_bounds,
            retried=raw.retried,
        )
        spent.rows, spent.bytes = block.rows.num_rows, block.rows.nbytes
    return ScoredBlock(
        planned=planned,
        split=item.split,
        first_row=item.first_row,
        block=block,
        num_rows=features.batch.num_rows,
        times=times,
    )
