"""Rows with keys of any type, some of which are rejected."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from conftest import Example

ROWS, BAD = 12, [2, 3, 9]

GOOD = [row for row in range(ROWS) if row not in BAD]


def table_of(iris: Example, keys: dict[str, pa.Array]) -> pa.Table:
    """Rows to score with keys; three of them are rejects."""
    features = iris.frame.head(ROWS)[iris.features].astype(float)
    features.iloc[BAD, 1] = np.nan
    table = pa.Table.from_pandas(features, preserve_index=False)
    for name, array in keys.items():
        table = table.append_column(name, array)
    return table.append_column("truth", pa.array([n % 3 for n in range(ROWS)]))


def rejects_of(file: Path) -> pa.Table:
    with pa.ipc.open_file(file) as reader:
        return reader.read_all()
