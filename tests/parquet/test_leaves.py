"""The leaves of an open file."""

import gc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.parquet.file import ParquetSource
from scoreline.pipeline.parquet.leaves import LeafTable


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
    read_whole(path)  # the latest small footer is kept
    gc.collect()
    gc.disable()
    try:
        before = num_footers()
        for _ in range(3):
            read_whole(path)
        assert num_footers() == before
    finally:
        gc.enable()


def found(file: pq.ParquetFile, leaves: LeafTable) -> tuple[object, ...]:
    """All that is known of the leaves of a file."""
    names = file.schema_arrow.names
    return leaves.paths, leaves.int96, leaves.flat, leaves.below(names)


STRUCT = pa.struct([("x", pa.float64())])
SCHEMAS: dict[str, tuple[pa.DataType, dict[str, bool]]] = {
    "x": (pa.float64(), {}),
    "y": (pa.float64(), {}),
    "a": (STRUCT, {}),
    "b": (STRUCT, {}),
    "list": (pa.list_(pa.float64()), {}),
    "z": (pa.timestamp("ns"), {}),
    "int96": (pa.timestamp("ns"), {"use_deprecated_int96_timestamps": True}),
    "narrow": (pa.binary(3), {}),
    "wide": (pa.binary(40), {}),
}


@given(st.lists(st.sampled_from(sorted(SCHEMAS)), min_size=2, max_size=8))
def test_files_share_leaves_only_where_they_are_equal(kinds: list[str]) -> None:
    """Also where their leaves have equal names and levels, but belong to other columns."""
    for kind in kinds:
        arrow_type, options = SCHEMAS[kind]
        name = kind if kind in ("x", "y", "a", "b") else "x"
        pq.write_table(pa.table({name: pa.nulls(2, arrow_type)}), data := pa.BufferOutputStream(), **options)
        file = pq.ParquetFile(pa.BufferReader(data.getvalue()))
        alone = LeafTable(pq.ParquetSchema(file.metadata), file.reader.column_paths)
        assert found(file, LeafTable.of(file)) == found(file, alone)


def test_a_large_footer_is_not_kept() -> None:
    """It may be as large as the memory."""
    pq.write_table(pa.table({"x" * 40_000: [1.0]}), data := pa.BufferOutputStream())
    file = pq.ParquetFile(pa.BufferReader(data.getvalue()))
    assert LeafTable.of(file) is not LeafTable.of(file)
