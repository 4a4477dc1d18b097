"""`check` tells what would happen and writes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import Example, Result

Command = Callable[..., Result]


def test_check_tells_what_was_verified(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Each line of the table, from the bundle itself."""
    result = scoreline("check", "--bundle", iris.bundle)
    assert result.code == 0, result.err
    for words in (
        "digest", "sha256:", "executes nothing", "standard: 4 → 4 columns", "float32 [rows, 4]",
        "network.0 → [rows, 32]", "labels as outputs: '0', '1', '2'", "150 of 150 come out on cpu",
    ):  # fmt: skip
        assert words in result.out


def test_check_scores_the_first_rows_and_writes_nothing(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """The same predictions as bare torch."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    before = sorted(tmp_path.rglob("*"))
    result = scoreline("check", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--json")
    assert result.code == 0, result.err
    answer = json.loads(result.out)
    expected = torch.softmax(torch.from_numpy(iris.raw()), 1)[:5]
    got = [[row[f"probability_{label}"] for label in iris.labels] for row in answer["rows"]["scored"]]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert (answer["rows"]["tried"], answer["rows"]["rejected"]) == (150, 0)
    assert answer["input"]["rows"] == "150"
    assert sorted(tmp_path.rglob("*")) == before


def test_check_tells_of_bad_rows_and_bad_files(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Rejects by row, and 65 for a file that cannot be read."""
    iris.frame.assign(**{iris.features[0]: [None, *[1.0] * 149]}).to_csv(tmp_path / "a.csv", index=False)
    result = scoreline("check", "--bundle", iris.bundle, "--input", tmp_path)
    assert result.code == 0
    assert "first 150 rows of a.csv: 1 rejected; scoreline score would end with 65" in result.out
    assert "row 0: column 'sepal length (cm)' is null" in result.out
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    result = scoreline("check", "--bundle", iris.bundle, "--input", tmp_path)
    assert result.code == 65
    assert "b.parquet" in result.message


def test_check_estimates_a_full_run(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Time, memory, output: the last against what the run then writes; nothing where a CSV does not say its rows."""
    many = pd.concat([iris.frame] * 400, ignore_index=True)
    many.to_parquet(tmp_path / "a.parquet", index=False)
    found = json.loads(scoreline("check", "--bundle", iris.bundle, "--input", tmp_path / "a.parquet", "--json").out)
    assert "from the first 60,000 rows" in found["input"]["estimate"]
    number, unit = found["input"][""].split(" written")[0].split()
    assert scoreline(
        "score", "--bundle", iris.bundle, "--input", tmp_path / "a.parquet", "--output", tmp_path / "out"
    ).code == 0  # fmt: skip
    written = float(number) * {"kB": 1e3, "MB": 1e6}[unit]
    assert (tmp_path / "out" / "a.parquet").stat().st_size == pytest.approx(written, rel=0.1)
    iris.frame.to_csv(tmp_path / "a.csv", index=False)
    told = json.loads(scoreline("check", "--bundle", iris.bundle, "--input", tmp_path / "a.csv", "--json").out)
    assert "estimate" not in told["input"]


def test_check_takes_what_the_job_says(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Keys, prefix, probabilities, splits, the budget: what is shown is what score would do."""
    iris.frame.assign(**{iris.features[0]: [None, *[1.0] * 149]}).to_parquet(tmp_path / "a.parquet", index=False)
    lines = [f'bundle = "{iris.bundle}"', 'input = "a.parquet"', 'output = "out"', "split_rows = 40", 'prefix = "p_"']
    lines += ['keys = "row_id"', 'probabilities = "none"', 'max_rejects = "5%"']
    (tmp_path / "job.toml").write_text("\n".join(lines))
    result = scoreline("check", "--job", tmp_path / "job.toml")
    assert result.code == 0, result.err
    assert "would end with 65" not in result.out
    assert "a-00000.parquet" in result.out
    assert "p_prediction" in result.out
    assert "probability_" not in result.out.split("first 40 rows")[1]
    (tmp_path / "job.toml").write_text("\n".join([*lines[:-1], 'max_rejects = "lots"']))
    for command in ("check", "score"):
        refused = scoreline(command, "--job", tmp_path / "job.toml")
        assert refused.code == 78
        assert "job.toml': max_rejects: 'lots' is neither a count" in refused.message


def test_check_takes_the_columns_of_a_job(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Hidden layers, the likeliest labels: the first rows are shown as a run would write them."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    lines = [
        f'bundle = "{iris.bundle}"',
        'input = "in.parquet"',
        'output = "out"',
        "top_k = 2",
        'hidden = ["network.1"]',
    ]
    (tmp_path / "job.toml").write_text("\n".join(lines))
    result = scoreline("check", "--job", tmp_path / "job.toml", "--json")
    assert result.code == 0, result.err
    assert "hidden_" in result.out
    assert "top_2_probability" in result.out
