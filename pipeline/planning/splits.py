"""Reads the blocks and splits of a planned partition, in any format. Independent of models."""

from collections.abc import Generator, Sequence
from contextlib import closing

import pyarrow as pa

from ..errors import PartitionError, one_line
from ..inputs.cut import SplitRange, cut
from ..inputs.formats import FORMATS
from ..records import ReadBlock, ReadRows, Split
from .plan import PlannedPartition


def read_splits(
    planned: PlannedPartition, block_rows: int, splits: SplitRange | None = None, *, threads: bool = False
) -> Generator[ReadBlock | Split]:
    """Yield the rows of every split to score, in blocks of `block_rows` and in file order, with features from the path;
    after its blocks, each split itself.

    Args:
        splits: some of the splits to score; None: all.
        threads: read with several threads, since there are more cores than readers.

    Raises:
        PartitionError: the file cannot be read to its end.
    """
    splits = planned.splits() if splits is None else splits
    rows = FORMATS[planned.partition.format].read_rows(
        planned.partition,
        planned.columns.read,
        header=planned.columns.header,
        dialect=planned.columns.dialect,
        block_rows=block_rows,
        first_row=splits.start * planned.split_rows,
        threads=threads,
    )
    try:
        with closing(rows):
            yield from cut(
                (_with_hive(read, planned.hive) for read in rows) if planned.hive else rows,
                splits,
                block_rows=block_rows,
                split_rows=planned.split_rows,
                num_splits=planned.num_splits,
            )
    except pa.ArrowException as error:  # the dictionaries of its row groups do not fit into one
        raise PartitionError(
            f"{planned.partition.name}: its row groups cannot be joined: {one_line(error)}",
            partition=planned.partition.name,
        ) from error


def _with_hive(read: ReadRows, keys: Sequence[tuple[str, str | None]]) -> ReadRows:
    batch = read.batch
    for key, value in keys:
        batch = batch.append_column(key, pa.repeat(pa.scalar(value, pa.string()), batch.num_rows))
    return ReadRows(batch=batch, unreadable=read.unreadable)
