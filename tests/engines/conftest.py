"""What several processes score together."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Example


@pytest.fixture
def data(tmp_path: Path, iris: Example) -> Path:
    """A file of many row groups and splits, some small files, a CSV; two rows are rejected."""
    folder = tmp_path / "data"
    (folder / "day=1").mkdir(parents=True)
    big = pd.concat([iris.frame] * 8, ignore_index=True).assign(row_id=np.arange(1200))
    big.loc[[7, 1100], iris.features[0]] = np.nan
    big.to_parquet(folder / "big.parquet", index=False, row_group_size=130)
    for name in "abc":
        iris.frame.to_parquet(folder / "day=1" / f"{name}.parquet", index=False)
    iris.frame.to_csv(folder / "d.csv", index=False)
    return folder
