"""Columns with the same text in every row: beside explanations and rejects, resumed, and part of the fingerprint."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from conftest import Example, Result

Command = Callable[..., Result]
WORDS = ("--constant", "model_version=7", "--constant", "made=é {run_date} {bundle_digest}", "--constant", "empty=")


def test_every_row_has_them(score: Command, iris: Example, four_files: Path, tmp_path: Path) -> None:
    """After all other columns, as text; the prefix applies to them."""
    words = [*WORDS, "--run-date", "2026-11-24", "--max-rejects", "9", "--explain", "occlusion", "--prefix", "p_"]
    assert score(four_files, *words).code == 0
    record = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    digest = record["bundle"]["digest"]
    for part in sorted((tmp_path / "out").glob("*.parquet")):
        found = pd.read_parquet(part)
        assert list(found.columns[-3:]) == ["p_model_version", "p_made", "p_empty"]
        assert (found["p_model_version"] == "7").all()
        assert (found["p_made"] == f"é 2026-11-24 {digest}").all()
        assert (found["p_empty"] == "").all()
        assert len(found) in (149, 150)
        assert found["p_attribution_" + iris.features[0]].notna().all()
    assert json.loads(record["options"]["constants"])["model_version"] == "7"
    assert "nothing_to_do" in score(four_files, *words).err


def test_another_text_is_another_output(score: Command, iris_file: Path, tmp_path: Path) -> None:
    """Parts are rescored, and the log says why."""
    assert score(iris_file, "--constant", "v=1").code == 0
    again = score(iris_file, "--constant", "v=2")
    assert again.event("run_started")["to_score"] == {"option constants changed": 1}
    assert set(pd.read_parquet(tmp_path / "out" / "in.parquet")["v"]) == {"2"}


def test_refused(score: Command, iris_file: Path) -> None:
    """The name of a key or a prediction, and a placeholder without its value."""
    assert "column 'row_id' is also the name of an output" in score(iris_file, "--constant", "row_id=1").message
    assert "another output column of this name" in score(iris_file, "--constant", "prediction=1").message
    assert score(iris_file, "--constant", "a={run_date}").code == 2
    assert score(iris_file, "--constant", "a={digest}").code == 2
