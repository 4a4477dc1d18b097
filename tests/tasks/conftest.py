"""A fixture that saves a bundle, scores with the command and reads the output."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from conftest import Result
from described import save_described
from task_models import NAMES, X

Command = Callable[..., Result]


@pytest.fixture
def scored(tmp_path: Path, scoreline: Command) -> Callable[..., pd.DataFrame]:
    """Save a bundle (once), score X with more arguments, and read the output."""

    def call(model: Any, *words: str, frame: pd.DataFrame = X, **described: Any) -> pd.DataFrame:
        if not (tmp_path / "b").exists():
            save_described(tmp_path / "b", model, features=NAMES, sample=X, **described)
        frame.assign(id=np.arange(len(frame))).to_parquet(tmp_path / "in.parquet", index=False)
        result = scoreline("score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output",
                           tmp_path / "out", *words)  # fmt: skip
        assert result.code == 0, result.err
        assert scoreline("verify", tmp_path / "out").code == 0
        table: pd.DataFrame = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
        return table

    return call
