"""A model that raises on each of the first eight rows of a file fails the run, for any size of blocks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import ModelFailedError
from scoreline.pipeline.model.first_rows import FIRST_ROWS, FirstRows
from torch import Tensor, nn

from conftest import Result
from scoreline import Multiclass, Scorer, save_bundle

Command = Callable[..., Result]
#: An index outside the embedding, which is found only when the model runs.
BAD = 99


class Lookup(nn.Module):
    """Computes an index, which cannot be checked beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.table((x[:, 0] * 1).long())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lookup") / "bundle"
    sample = pd.DataFrame({"a": np.arange(50.0) % 5, "b": np.zeros(50)})
    save_bundle(folder, Lookup(), features=["a", "b"], task=Multiclass(["u", "v"]), sample=sample)
    return folder


def frame(bad: Any, rows: int = 60) -> pd.DataFrame:
    """Rows of which some make the model raise, and one is rejected before."""
    values = np.where(np.isin(np.arange(rows), list(bad)), BAD, np.arange(rows) % 5).astype(float)
    values[2] = np.nan
    return pd.DataFrame({"row": np.arange(rows), "a": values, "b": 0.0})


@pytest.fixture
def score(scoreline: Command, bundle: Path, tmp_path: Path) -> Callable[..., Result]:
    """Score one file with any number of rejects allowed."""

    def call(rows: pd.DataFrame, *words: object, kind: str = "parquet") -> Result:
        path = tmp_path / f"in.{kind}"
        if not path.exists():
            rows.to_csv(path, index=False) if kind == "csv" else rows.to_parquet(path, index=False)
        named = ["--bundle", bundle, "--input", path, "--output", tmp_path / "out", "--max-rejects", "100%"]
        return scoreline("score", *named, *words)

    return call


SIZES = [1, 3, 7, 8, 9, 1_000_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_model_that_always_raises(score: Callable[..., Result], tmp_path: Path, size: int, kind: str) -> None:
    """The run fails for any size of blocks."""
    result = score(frame(range(60)), "--batch-size", size, kind=kind)
    assert result.code == 65
    assert "the model raises on each of the first 8 rows alone" in result.message
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize("size", SIZES)
def test_one_of_the_first_rows_passes(score: Callable[..., Result], tmp_path: Path, size: int) -> None:
    """Then the others of the first eight that reach the model (row 2 does not) are rejects."""
    bad = [row for row in range(60) if row != 8]
    assert score(frame(bad), "--batch-size", size).code == 0
    assert pq.read_table(tmp_path / "out" / "in.parquet")["row"].to_pylist() == [8]


@pytest.mark.parametrize("words", [["--split-rows", 5], ["--split-rows", 5, "--batch-size", 2], ["--dedupe"]])
def test_splits_and_repeated_rows(score: Callable[..., Result], words: list[object]) -> None:
    """Rows are counted across splits, and again by the next run, which keeps published parts; repeated rows once."""
    rows = frame(range(60))
    rows["b"] = np.arange(60) % 20
    for _ in range(2):
        result = score(rows, *words)
        assert result.code == 65
        assert "the model raises on each of the first 8 rows alone" in result.message


def test_a_resumed_run_does_not_count_again(score: Callable[..., Result], tmp_path: Path) -> None:
    """Eight rows at the start of a later split are rejects, as in a run that was not interrupted."""
    rows = frame(range(20, 40))
    assert score(rows, "--split-rows", 20).code == 0
    whole = {part.name: part.read_bytes() for part in (tmp_path / "out").glob("*.parquet")}
    (tmp_path / "out" / "in-00001.parquet").unlink()
    assert score(rows, "--split-rows", 20).code == 0
    assert {part.name: part.read_bytes() for part in (tmp_path / "out").glob("*.parquet")} == whole


@pytest.mark.parametrize("size", SIZES)
def test_tables_and_calibration(scoreline: Command, bundle: Path, tmp_path: Path, size: int) -> None:
    """Scoring from Python and calibration fail as well."""
    scorer = Scorer.load(bundle, device="cpu")
    scorer.block_rows = min(size, 100)
    rows = frame(range(60))
    with pytest.raises(ModelFailedError, match="the model raises on each of the first 8 rows alone"):
        scorer.score_table(pa.Table.from_pandas(rows), with_rejects=True)
    rows.assign(y="u").to_parquet(tmp_path / "in.parquet")
    words = ["--bundle", bundle, "--input", tmp_path / "in.parquet", "--label", "y"]
    result = scoreline("calibrate", *words, tmp_path / "calibrated")
    assert (result.code, "Traceback" in result.err) == (65, False)


@given(
    blocks=st.lists(st.integers(0, 12), min_size=1, max_size=20),
    fails=st.lists(st.booleans(), min_size=FIRST_ROWS, max_size=FIRST_ROWS),
    order=st.randoms(use_true_random=False),
)
def test_blocks_scored_in_any_order(blocks: list[int], fails: list[bool], order: Any) -> None:
    """Raises once all of the first eight rows have failed, also for a block without rows, and not before."""
    file, first, announced = FirstRows(), 0, []
    for rows in blocks:
        announced.append((first, rows, file.announce(rows)))
        first += rows
    order.shuffle(announced)
    seen: set[int] = set()
    for start, rows, block in announced:
        alone = [row for row in range(start, start + rows) if row < FIRST_ROWS]
        assert block.count == len(alone)
        failed = {row - start: f"row {row}" for row in range(start, start + rows) if row >= FIRST_ROWS or fails[row]}
        seen |= {row for row in alone if fails[row]}
        if len(seen) == FIRST_ROWS:
            with pytest.raises(ModelFailedError, match="first 8 rows alone: row 0;"):
                block.add(failed)
        else:
            block.add(failed)


def test_first_rows_are_settled_once_all_eight_were_announced() -> None:
    """In blocks of any size; before, another flow cannot know whether its rows are among them."""
    first = FirstRows()
    assert not first.settled
    assert [(one.start, one.count) for one in (first.announce(0), first.announce(7))] == [(0, 0), (0, 7)]
    assert not first.settled
    last = first.announce(5)
    assert (first.settled, last.start, last.count) == (True, 7, 1)
    assert first.announce(5).count == 0
