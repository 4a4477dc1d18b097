"""`scoreline bench`: consistent figures, on synthetic data and on the user's own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Example, Result

Command = Callable[..., Result]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_synthetic_data(scoreline: Command, kind: str) -> None:
    """Every stage, the limit, the whole run, and the two comparisons."""
    words = ["--rows", "20k", "--features", "7", "--files", "3", "--format", kind, "--rounds", "1"]
    result = scoreline("bench", *words, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["rows"] == 20_000
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert list(stages) == ["read", "check + scale", "transfer + forward", "decode", "write + publish"]
    cpu = sum(stage["cpu_s"] for stage in found["stages"]) / found["cores"]["count"]
    alone = stages["read"]["wall_s"] + stages["check + scale"]["wall_s"]
    assert found["limit_s"] == pytest.approx(max(cpu, alone / min(found["cores"]["count"], 3)))
    assert found["ratio"] == pytest.approx(found["steady_s"] / found["limit_s"])
    assert set(found["forward_rows_per_s"]) == {"gradients recorded", "no_grad", "inference_mode"}
    assert found["train_changes"]["changed"] > 0  # BatchNorm over the batch


def test_the_users_own_bundle(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """As a table; nothing is left behind."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    result = scoreline("bench", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--rounds", "1")
    assert result.code == 0, result.err
    assert "150 rows on cpu" in result.out
    assert "ratio" in result.out
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_rejected_rows_are_measured_too(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Unless there is no other row; bench has no option for them."""
    rows = iris.frame.copy()
    rows.loc[[3, 90], iris.features[0]] = None
    rows.to_parquet(tmp_path / "some.parquet", index=False)
    rows.assign(**{iris.features[0]: float("nan")}).to_parquet(tmp_path / "none.parquet", index=False)
    rows.head(0).to_parquet(tmp_path / "empty.parquet", index=False)
    words = ["bench", "--bundle", iris.bundle, "--rounds", "1", "--input"]
    result = scoreline(*words, tmp_path / "some.parquet")
    assert (result.code, "150 rows on cpu" in result.out) == (0, True), result.err
    for name, number in (("none", 150), ("empty", 0)):
        result = scoreline(*words, tmp_path / f"{name}.parquet")
        assert result.code == 65
        assert f"{name}.parquet: has no rows that can be scored (rows read: {number})" in result.message


def test_invalid_or_conflicting_options(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """An input without a bundle, more files than rows, a missing input."""
    assert scoreline("bench", "--input", tmp_path).code == 2
    assert scoreline("bench", "--rows", "3", "--files", "8").code == 2
    assert scoreline("bench", "--bundle", iris.bundle, "--input", tmp_path / "nowhere").code == 66
