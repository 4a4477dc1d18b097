"""Memory does not grow with the input: peak RSS of whole processes, including children."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from process_memory import imports_mb, peak_mb
from scoreline import Multiclass, save_bundle
from textbook import ClassificationModel

FEATURES = [f"f{n}" for n in range(30)]


def write(path: Path, rows: int, chunk: int = 300_000) -> None:
    """Write a file of one row group without holding all of it in memory as float64."""
    draw = np.random.default_rng(0)
    base = {name: draw.normal(size=chunk) for name in FEATURES}
    tables = [pa.table({**base, "row_id": np.arange(start, start + chunk)}) for start in range(0, rows, chunk)]
    pq.write_table(pa.concat_tables(tables), path, row_group_size=rows)


#: The memory of a run besides torch and Arrow.
MOST_MB = 450


@pytest.mark.slow
@pytest.mark.parametrize(
    ("few", "rows"),
    [
        (600_000, 1_800_000),  # with 300,000, fewer blocks are in flight
        pytest.param(900_000, 3_000_000, marks=pytest.mark.long),
        pytest.param(900_000, 4_500_000, marks=pytest.mark.long),
    ],
)
def test_one_giant_row_group_takes_no_more_memory(tmp_path: Path, few: int, rows: int) -> None:
    """Three or five times as many rows in one row group within 10%, and below a limit above the memory of the imports
    alone. How many blocks are in flight at the peak depends on timing, so the smaller of two runs counts for each."""
    torch.manual_seed(0)
    sample = np.random.default_rng(1).normal(size=(64, 30))
    save_bundle(
        tmp_path / "b",
        ClassificationModel(30, [128, 64], 5),
        features=FEATURES,
        task=Multiclass(list("abcde")),
        sample=sample,
    )
    write(tmp_path / "small.parquet", few)
    write(tmp_path / "large.parquet", rows)

    def peak(size: str, run: int) -> float:
        words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / f"{size}.parquet"]
        return peak_mb("-m", "scoreline", *words, "--output", tmp_path / f"{size}-{run}")

    small = min(peak("small", run) for run in range(2))
    most = min(small * 1.1, imports_mb() + MOST_MB)
    large = peak("large", 0)
    if large > most:
        large = min(large, peak("large", 1))
    parts = sorted((tmp_path / "large-0").glob("large-*.parquet"))
    assert sum(pq.ParquetFile(part).metadata.num_rows for part in parts) == rows
    assert large <= most
