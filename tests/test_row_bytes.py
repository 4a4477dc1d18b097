"""Blocks of large rows are cut by the size of their values, independent of batches, and the same way in a resumed
run."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.inputs import cut as cutting
from scoreline.pipeline.inputs.rebatch import Rebatcher
from scoreline.pipeline.row_bytes import row_bytes

from conftest import Example, Result
from process_memory import imports_mb, peak_mb

Command = Callable[..., Result]
TEXT = st.none() | st.text(max_size=9)
#: Types of any nesting, with values and the expected size of a value.
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any], Callable[[Any], int]]] = {
    "string": (pa.string(), TEXT, lambda v: len((v or "").encode())),
    "large binary": (pa.large_binary(), st.none() | st.binary(max_size=9), lambda v: len(v or b"")),
    "view": (pa.string_view(), st.none() | st.text(max_size=30), lambda v: len((v or "").encode())),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), TEXT, lambda v: len((v or "").encode())),
    "fixed": (pa.binary(40), st.none() | st.binary(min_size=40, max_size=40), lambda _: 40),
    "list": (
        pa.list_(pa.int16()), st.none() | st.lists(st.none() | st.integers(0, 9), max_size=5),
        lambda v: 4 + 2 * len(v or []),
    ),
    "list of texts": (
        pa.list_(pa.string()), st.none() | st.lists(TEXT, max_size=4),
        lambda v: 4 + sum(len((t or "").encode()) for t in v or []),
    ),
    "map": (
        pa.map_(pa.string(), pa.int64()),
        st.none() | st.lists(st.tuples(st.text(max_size=4), st.integers(0, 9)), max_size=3),
        lambda v: 4 + sum(len(key.encode()) + 8 for key, _ in v or []),
    ),
    "struct": (
        pa.struct([("t", pa.string()), ("l", pa.list_(pa.string()))]),
        st.none() | st.fixed_dictionaries({"t": TEXT, "l": st.none() | st.lists(TEXT, max_size=3)}),
        lambda v: 0 if v is None else 4 + sum(len((t or "").encode()) for t in [v["t"], *(v["l"] or [])]),
    ),
    "list of lists": (
        pa.list_(pa.list_(pa.string())), st.none() | st.lists(st.none() | st.lists(TEXT, max_size=3), max_size=3),
        lambda v: 4 + sum(4 + sum(len((t or "").encode()) for t in inner or []) for inner in v or []),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_size_of_rows_is_that_of_their_values(kind: str, data: st.DataObject) -> None:
    """Also for slices, whose buffers contain more."""
    arrow, values, size = KINDS[kind]
    rows = data.draw(st.lists(values, max_size=12))
    start = data.draw(st.integers(0, len(rows)))
    batch = pa.record_batch({"n": pa.array(range(len(rows)), pa.int64()), "x": pa.array(rows, arrow)})
    found = row_bytes(batch.slice(start))
    assert found is not None
    assert found.tolist() == [size(value) for value in rows[start:]]


def test_numbers_are_not_measured() -> None:
    """Their size follows from the types of the columns."""
    batch = pa.record_batch(
        {"f": [1.0], "d": pa.array([1], pa.decimal256(70)), "b": [True], "t": pa.array([0], pa.date32())}
    )
    assert row_bytes(batch) is None


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(1, 100),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_blocks_depend_only_on_the_rows(sizes: list[int], most_rows: int, most_bytes: int, ends: list[int]) -> None:
    """They equal the blocks of a simple loop over the rows, for any batches."""
    wanted: list[list[str]] = [[]]
    for size in sizes:
        held = sum(map(len, wanted[-1]))
        if wanted[-1] and (len(wanted[-1]) == most_rows or held + size > most_bytes):
            wanted.append([])
        wanted[-1].append("x" * size)
    whole = pa.record_batch({"x": ["x" * size for size in sizes]})
    stops = sorted({0, len(sizes), *(end for end in ends if end < len(sizes))})
    rebatcher = Rebatcher(most_rows, most_bytes)
    found = [block for start, stop in pairwise(stops) for block in rebatcher.add(whole.slice(start, stop - start))]
    found += rebatcher.rest()
    assert [block["x"].to_pylist() for block, _ in found] == wanted
    assert [num_bytes for _, num_bytes in found] == [sum(map(len, block)) for block in wanted]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_resume_cuts_the_same_blocks(
    scoreline: Command, tmp_path: Path, iris: Example, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With large keys and several row groups, rescored parts have the same bytes."""
    monkeypatch.setattr(cutting, "MOST_BLOCK_BYTES", 5000)
    frame = pd.concat([iris.frame] * 4, ignore_index=True)
    frame["note"] = ["x" * (n * 37 % 900) for n in range(len(frame))]
    file = tmp_path / f"in.{kind}"
    if kind == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file, index=False, row_group_size=70)
    words = ["score", "--bundle", iris.bundle, "--input", file, "--output", tmp_path / "out", "--split-rows", "100"]
    assert scoreline(*words).code == 0
    parts = sorted((tmp_path / "out").glob("*.parquet"))
    wanted = [part.read_bytes() for part in parts]
    assert len(parts) == 6
    for number in (2, 3, 5):
        parts[number].unlink()
    assert scoreline(*words).code == 0
    assert [part.read_bytes() for part in parts] == wanted
    assert pa.concat_tables(map(pq.read_table, parts))["note"].to_pylist() == frame["note"].tolist()


#: In addition to torch and Arrow, some builds of which take three times as much as others: 1 GB with the CPU build.
MOST_MB = 750


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "rows"),
    [
        (4_000, 200_000),
        pytest.param(4_000, 1_000_000, marks=pytest.mark.long),
        pytest.param(24_000, 600_000, marks=pytest.mark.long),
    ],
)
def test_repeated_long_text(tmp_path: Path, iris: Example, length: int, rows: int) -> None:
    """A constant that is tiny in the file but gigabytes when decoded."""
    key = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array(["x" * length]))
    columns = {name: pa.array(np.zeros(rows)) for name in iris.features}
    table = pa.table({**columns, "key": key})
    with pq.ParquetWriter(tmp_path / "in.parquet", table.schema, store_schema=False) as writer:
        writer.write_table(table, row_group_size=rows)
    assert (tmp_path / "in.parquet").stat().st_size < 1_000_000
    assert pq.ParquetFile(tmp_path / "in.parquet").schema_arrow.field("key").type == pa.string()
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    peak = peak_mb("-m", "scoreline", *words)
    assert peak <= imports_mb() + MOST_MB
    parts = [pq.ParquetFile(part).metadata.num_rows for part in (tmp_path / "out").glob("*.parquet")]
    assert sum(parts) == rows
