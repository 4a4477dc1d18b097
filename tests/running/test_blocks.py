"""Loading and scoring the blocks of a planned partition, and the items in between."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.inputs.cut import SplitRange
from scoreline.pipeline.model.first_rows import FirstRows
from scoreline.pipeline.options import CsvDialect
from scoreline.pipeline.planning.plan import PlannedPartition
from scoreline.pipeline.running.blocks import (
    Loaded,
    LoadedBlock,
    ReadFailed,
    ScoredBlock,
    SplitEnd,
    load_blocks,
    origin_of,
    score_block,
)
from scoreline.pipeline.scoring.line import Line, compose
from scoreline.pipeline.timing import StageTimes

from conftest import Example
from open_runs import BLOCK_ROWS, OpenRun, open_run


@pytest.fixture
def opened(tmp_path: Path, iris: Example) -> OpenRun:
    """25 rows in row groups of five, of which row 13 has no value, and the same rows as a CSV in a folder."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    frame = iris.frame.head(25).copy()
    frame.loc[13, iris.features[0]] = np.nan
    frame.to_parquet(tmp_path / "data" / "a.parquet", index=False, row_group_size=5)
    frame.to_csv(tmp_path / "data" / "sub" / "b.csv", index=False, sep=";")
    return open_run(iris.bundle, tmp_path / "data", csv=CsvDialect(delimiter=";"))


@pytest.fixture
def line(opened: OpenRun) -> Line:
    """The line of the run."""
    return compose(opened.scorer.loaded)


@pytest.fixture
def planned(opened: OpenRun) -> PlannedPartition:
    """The Parquet file."""
    return opened.plan.partitions[0]


def shape(items: list[Loaded]) -> list[tuple[int, int, int]]:
    """The split, first row and number of rows of each block; of a split, its rows come last."""
    return [
        (item.block.split, item.block.first_row, item.block.batch.num_rows)
        if isinstance(item, LoadedBlock)
        else (item.split.index, item.split.first_row, -item.split.num_rows)
        for item in items
        if not isinstance(item, ReadFailed)
    ]


def test_blocks_and_ends_of_splits(planned: PlannedPartition, line: Line) -> None:
    """In order; a block never crosses the end of a split, and the last split is marked."""
    items = list(load_blocks(planned, line, BLOCK_ROWS))
    assert shape(items) == [
        (0, 0, 4), (0, 4, 4), (0, 8, 2), (0, 0, -10), (1, 10, 4), (1, 14, 4), (1, 18, 2), (1, 10, -10),
        (2, 20, 4), (2, 24, 1), (2, 20, -5),
    ]  # fmt: skip
    assert [item.split.last for item in items if isinstance(item, SplitEnd)] == [False, False, True]
    assert all(item.planned is planned for item in items)


def test_some_splits(planned: PlannedPartition, line: Line) -> None:
    """Another reader has the others."""
    items = list(load_blocks(planned, line, BLOCK_ROWS, SplitRange(1, 2)))
    assert shape(items) == [(1, 10, 4), (1, 14, 4), (1, 18, 2), (1, 10, -10)]


def test_the_size_of_a_block(planned: PlannedPartition, line: Line, iris: Example) -> None:
    """Its rows as read, and the model's inputs: 4 rows of float64 and float32, and the other columns."""
    (first, *_) = load_blocks(planned, line, BLOCK_ROWS)
    assert isinstance(first, LoadedBlock)
    assert first.num_bytes == first.block.batch_bytes + 4 * len(iris.features) * 4
    assert first.block.batch_bytes >= 4 * len(iris.features) * 8
    assert first.times["read"].rows == 4
    assert first.times["read"].bytes == first.block.batch_bytes
    assert {"read", "check", "scale"} == set(first.times.stages)


def test_scored_blocks(planned: PlannedPartition, line: Line, iris: Example) -> None:
    """The keys and labels of plain torch, row by row, without the row that has no value; the clock goes on."""
    scored = [score_block(item, line) for item in load_blocks(planned, line, BLOCK_ROWS)]
    blocks = [item for item in scored if isinstance(item, ScoredBlock)]
    assert [(item.split, item.first_row, item.num_rows) for item in blocks] == [
        (0, 0, 4), (0, 4, 4), (0, 8, 2), (1, 10, 4), (1, 14, 4), (1, 18, 2), (2, 20, 4), (2, 24, 1),
    ]  # fmt: skip
    rows = pd.concat([item.scored.rows.to_pandas() for item in blocks])
    expected = iris.frame.head(25).drop(13)
    assert rows["row_id"].tolist() == expected["row_id"].tolist()
    assert rows["prediction"].tolist() == iris.raw(expected).argmax(axis=1).tolist()
    (reject,) = [reject for item in blocks for reject in item.scored.rejects.to_pylist()]
    assert (reject["reject"]["source"], reject["reject"]["row_number"]) == ("a.parquet", 13)
    assert blocks[0].times["forward"].rows == 4
    assert blocks[0].times["read"].rows == 4


def test_other_items_are_not_scored(planned: PlannedPartition, line: Line) -> None:
    """They follow their blocks unchanged."""
    (*_, end) = load_blocks(planned, line, BLOCK_ROWS)
    assert score_block(end, line) is end
    failed = ReadFailed(
        planned=planned, split=1, error=PartitionError("broken", partition="a.parquet"), times=StageTimes()
    )
    assert score_block(failed, line) is failed


def test_a_file_that_cannot_be_read(planned: PlannedPartition, line: Line) -> None:
    """The error says where, and is the last item."""
    Path(planned.partition.path).unlink()
    (failed,) = load_blocks(planned, line, BLOCK_ROWS, SplitRange(1, 3))
    assert isinstance(failed, ReadFailed)
    assert (failed.planned, failed.split, failed.error.partition) == (planned, 1, "a.parquet")
    assert set(failed.times.stages) == {"read"}


def test_the_first_rows_are_announced(planned: PlannedPartition, line: Line) -> None:
    """Those of the first split, since in a later one they depend on what an earlier run has scored; those of a later
    split as well where nothing before it was scored."""

    def announced(planned: PlannedPartition, splits: SplitRange | None = None) -> list[tuple[int, int]]:
        blocks = [
            item.block
            for item in load_blocks(planned, line, BLOCK_ROWS, splits, FirstRows())
            if isinstance(item, LoadedBlock)
        ]
        return [(block.first.start, block.first.count) for block in blocks if block.first is not None]

    assert announced(replace(planned, nothing_scored=False)) == [(0, 4), (4, 4), (8, 0)]
    assert announced(replace(planned, nothing_scored=False), SplitRange(1, 3)) == []
    later = announced(replace(planned, nothing_scored=True), SplitRange(1, 3))
    assert later == [(0, 3), (3, 4), (7, 1), (8, 0), (8, 0)]


def test_no_first_rows(planned: PlannedPartition, line: Line) -> None:
    """Where another reader has them, no block does."""
    blocks = [item.block for item in load_blocks(planned, line, BLOCK_ROWS) if isinstance(item, LoadedBlock)]
    assert [block.first for block in blocks] == [None] * 8


def test_the_origin_of_rows(opened: OpenRun, tmp_path: Path, iris: Example) -> None:
    """Names in rejects are those of the input; paths in it are relative to the file's folder."""
    parquet, csv = opened.plan.partitions
    first_rows = FirstRows()
    found = origin_of(csv, first_rows)
    assert (found.source, found.folder) == ("sub/b.csv", str(tmp_path / "data" / "sub"))
    assert found.first_rows is first_rows
    assert found.dialect.delimiter == ";"
    assert set(found.text) >= set(iris.features)
    found = origin_of(parquet)
    assert (found.source, found.folder, found.first_rows) == ("a.parquet", str(tmp_path / "data"), None)
    assert (found.dialect, found.text) == (CsvDialect(), frozenset())
    assert found.schema is not None
    assert found.schema.names[: found.num_keys] == ["row_id", "truth"]
    assert "prediction" in found.schema.names[found.num_keys :]
