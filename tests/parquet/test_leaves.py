"""The leaves of an open file."""

import gc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from scoreline.pipeline.parquet.file import ParquetSource


def num_footers() -> int:
    """How many footers are in memory."""
    return sum(isinstance(one, pq.FileMetaData) for one in gc.get_objects())


def read_whole(path: Path) -> None:
    """Read the types and the rows of a file."""
    with ParquetSource(path, name="a.parquet") as source:
        source.schema()
        list(source.read_batches())


def test_a_closed_file_leaves_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    """It runs rarely, so that the footers of a plan of many files would add up to gigabytes."""
    pq.write_table(pa.table({"a": [1.0], "b": ["x"]}), path := tmp_path / "a.parquet")
    gc.collect()
    gc.disable()
    try:
        before = num_footers()
        for _ in range(3):
            read_whole(path)
        assert num_footers() == before
    finally:
        gc.enable()
