"""Blocks of one size from batches of any size."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.inputs.rebatch import rebatch


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 20))
def test_same_rows_in_blocks_of_one_size(sizes: list[int], rows: int) -> None:
    """The order is kept, and only the last block is shorter, for any batches."""
    start, batches = 0, []
    for size in sizes:
        batches.append(pa.record_batch([pa.array(range(start, start + size), pa.int64())], names=["x"]))
        start += size
    blocks = list(rebatch(batches, rows))
    values = [value for block in blocks for value in block.column("x").to_pylist()]
    assert values == list(range(start))
    assert all(block.num_rows == rows for block in blocks[:-1])
    assert len(blocks) == (-(-start // rows) or bool(sizes))
