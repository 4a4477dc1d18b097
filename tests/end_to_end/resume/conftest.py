"""Four files and a command that scores them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Example, Result

Command = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path, iris: Example) -> Path:
    """Four files, two of them with a reject."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(4):
        frame = iris.frame.assign(row_id=iris.frame["row_id"] + n)
        if n % 2:
            frame.loc[17, iris.features[0]] = np.nan
        frame.to_parquet(folder / f"{n}.parquet", index=False)
    return folder


@pytest.fixture
def score(scoreline: Command, iris: Example, data: Path, tmp_path: Path) -> Command:
    def call(*words: object) -> Result:
        return scoreline(
            "score",
            "--bundle",
            iris.bundle,
            "--input",
            data,
            "--output",
            tmp_path / "out",
            "--max-rejects",
            "9",
            *words,
        )

    return call
