"""A run refuses to replace or remove parts that a table refers to."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scoreline.pipeline.outputs.committed import CommittedPart, write_committed
from scoreline.pipeline.outputs.folder_store import FolderStore

from conftest import Example, Result
from outcomes import closed, parts


@pytest.fixture
def out(score_four_files: Callable[..., Result], tmp_path: Path) -> Path:
    """An output of four parts, two of which are in a table."""
    assert score_four_files().code == 0
    committed = [CommittedPart(table="delta", number=1, target=f"{n}.parquet", receipt="sha256:0") for n in (0, 1)]
    write_committed(FolderStore(tmp_path / "out"), committed)
    return tmp_path / "out"


@pytest.mark.parametrize("words", [["--force"], ["--split-rows", "64"], ["--prefix", "p_"]], ids=lambda words: words[0])
def test_options(score_four_files: Callable[..., Result], out: Path, words: list[str]) -> None:
    """That would rescore them; the output stays as it is."""
    before = parts(out)
    closed(
        score_four_files(*words), 73, "0.parquet would be replaced, but it was committed to delta", "another --output"
    )
    assert parts(out) == before


def test_inputs(score_four_files: Callable[..., Result], out: Path, four_files: Path, iris: Example) -> None:
    """One whose part is in the table may not change; others may, and new ones may arrive."""
    iris.frame.head(9).to_parquet(four_files / "2.parquet", index=False)
    iris.frame.head(9).to_parquet(four_files / "new.parquet", index=False)
    assert score_four_files().code == 0
    iris.frame.head(9).to_parquet(four_files / "1.parquet", index=False)
    closed(score_four_files(), 73, "1.parquet would be replaced")


def test_a_part_that_was_lost(score_four_files: Callable[..., Result], out: Path) -> None:
    """Is not scored again: the table has its size."""
    (out / "1.parquet").unlink()
    closed(score_four_files(), 73, "1.parquet would be replaced")


def test_prune(score_four_files: Callable[..., Result], out: Path, four_files: Path) -> None:
    """Does not remove them; without it, they are orphaned like others."""
    (four_files / "0.parquet").unlink()
    closed(score_four_files("--prune"), 73, "0.parquet would be removed")
    assert score_four_files().code == 0
    assert (out / "0.parquet").exists()


def test_shards(score_four_files: Callable[..., Result], out: Path) -> None:
    """Refuse it, too."""
    closed(score_four_files("--shard", "1/1", "--force"), 73, "0.parquet would be replaced")
