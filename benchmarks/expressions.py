"""Six expressions: their stage in a run of Scoreline compared with DuckDB alone, taking turns.

    python benchmarks/expressions.py --rows 2000000 --rounds 5

DuckDB alone evaluates the same SQL on the same rows in memory, on one thread, in blocks of the same size. Reports the
median rates by CPU time of the stage and of DuckDB, and that of whole runs on all cores.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from runs import score
from scoreline.pipeline.scoring.block import Block
from scoreline.pipeline.scoring.line import compose
from torch import nn

import scoreline

SQL = {
    "hour": "hour(ts)",
    "weekday": "dayofweek(ts)",
    "amount_log": "ln(amount + 1)",
    "city": "length(lower(trim(city)))",
    "days": "date_diff('day', TIMESTAMP '2020-01-01', ts)",
    "wave": "sin(amount)",
}
BLOCK_ROWS, FILES = 32_768, 4


def rows_of(number: int) -> pa.Table:
    """Synthetic rows: a key, a timestamp, a number and text."""
    draw = np.random.default_rng(0)
    return pa.table(
        {
            "id": range(number),
            "ts": pa.array(draw.integers(15 * 10**14, 17 * 10**14, number)).cast(pa.timestamp("us")),
            "amount": draw.random(number) * 100,
            "city": pa.array(draw.choice(["  Berlin", "PARIS ", "Rome"], number)),
        }
    )


def save(folder: Path, rows: pa.Table) -> None:
    """Write a bundle of one linear layer, and the rows in a few files."""
    torch.manual_seed(0)
    scoreline.save_bundle(
        folder / "b", nn.Linear(len(SQL), 1).eval(), features=list(SQL), task=scoreline.Regression(),
        preprocessing=[scoreline.Expressions(SQL)], sample=rows.slice(0, 256),
    )  # fmt: skip
    (folder / "in").mkdir()
    each = -(-rows.num_rows // FILES)
    for number in range(FILES):
        pq.write_table(rows.slice(number * each, each), folder / "in" / f"{number}.parquet")


def stage_rate(scorer: scoreline.Scorer, rows: pa.Table) -> float:
    """Rows per second of CPU time of the stage, block by block."""
    stages = {stage.name: stage for stage in compose(scorer.loaded).load_stages}
    seconds = 0.0
    for first in range(0, rows.num_rows, BLOCK_ROWS):
        (batch,) = rows.slice(first, BLOCK_ROWS).combine_chunks().to_batches()
        block = stages["check"](Block(batch=batch))
        start = process_time()
        stages["expressions"](block)
        seconds += process_time() - start
    return rows.num_rows / seconds


def duckdb_rate(rows: pa.Table) -> float:
    """Rows per second of CPU time of DuckDB alone."""
    connection = duckdb.connect(config={"threads": 1})
    columns = ", ".join(SQL.values())
    start = process_time()
    for first in range(0, rows.num_rows, BLOCK_ROWS):
        connection.register("block", rows.slice(first, BLOCK_ROWS))
        connection.sql(f"SELECT {columns} FROM block").to_arrow_table()
    return rows.num_rows / (process_time() - start)


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = rows_of(arguments.rows)
    stages, runs, alone = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save(folder, rows)
        scorer = scoreline.Scorer.load(folder / "b", device="cpu")
        for number in range(arguments.rounds):
            alone.append(duckdb_rate(rows))
            stages.append(stage_rate(scorer, rows))
            runs.append(arguments.rows / score(folder, number).seconds)
    ratio = median(stage / other for stage, other in zip(stages, alone, strict=True))
    sys.stdout.write(
        f"DuckDB alone {median(alone) / 1e6:.2f} M rows/s on one core; the stage {median(stages) / 1e6:.2f}, or"
        f" {ratio:.2f} times that; the whole run {median(runs) / 1e6:.2f} M rows/s\n"
    )


if __name__ == "__main__":
    main()
