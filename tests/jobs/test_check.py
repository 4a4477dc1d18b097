"""`check` previews a run and writes nothing."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from conftest import Example, Result
from scoreline import Multiclass, save_bundle

Command = Callable[..., Result]


def test_check_shows_what_was_verified(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Each line of the table, from the bundle itself."""
    result = scoreline("check", "--bundle", iris.bundle)
    assert result.code == 0, result.err
    for words in (
        "digest", "sha256:", "executes nothing", "standard: 4 → 4 columns", "float32 [rows, 4]",
        "network.0 → [rows, 32]", "labels in output order: '0', '1', '2'", "150 of 150 reproduced on cpu",
    ):  # fmt: skip
        assert words in result.out


def test_check_scores_the_first_rows_and_writes_nothing(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """The predictions equal those of bare torch."""
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


def test_check_shows_bad_rows_and_bad_files(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Rejects by row, and exit code 65 for a file that cannot be read."""
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
    """Time, memory and output size, the last compared with what the run then writes; no estimate for a CSV, whose rows
    are unknown."""
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
    answer = json.loads(scoreline("check", "--bundle", iris.bundle, "--input", tmp_path / "a.csv", "--json").out)
    assert "estimate" not in answer["input"]


def test_check_applies_the_options_of_a_job(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Keys, prefix, probabilities, splits, the reject budget: it shows what score would do."""
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


def test_check_shows_the_columns_of_a_job(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Hidden layers and most likely labels: the first rows are shown as a run would write them."""
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


def test_long_lists_are_cut(scoreline: Command, tmp_path: Path) -> None:
    """Features, layers, labels and keys, each with the number of the others; JSON has the same lines."""
    names = [f"f{number}" for number in range(9)]
    layers = [nn.Linear(9, 9) for _ in range(15)]
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 9)), columns=names)
    save_bundle(tmp_path / "b", nn.Sequential(*layers), features=names, task=Multiclass(list("stuvwxyz!")), sample=rows)
    keys = {f"k{number}": ["x"] for number in range(8)}
    rows.head(1).assign(**keys).to_csv(tmp_path / "in.csv", index=False)
    result = scoreline("check", "--bundle", tmp_path / "b", "--input", tmp_path / "in.csv")
    assert result.code == 0, result.err
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "features 9: 'f0', 'f1', 'f2', 'f3', 'f4', 'f5' and 3 more" in lines
    assert [line for line in lines if line.startswith("shape")][-2:] == ["shape 11 → [rows, 9]", "shape and 3 more"]
    assert any(line.endswith("labels in output order: 's', 't', 'u', 'v', 'w', 'x' and 3 more") for line in lines)
    assert "keys 'k0', 'k1', 'k2', 'k3', 'k4', 'k5' and 2 more" in lines
    assert "first 1 row of in.csv: 0 rejected" in lines


def test_a_preview_of_many_columns(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """The first and the last, each with a short name; JSON has all."""
    more = {f"{'k' * 50}{number}": range(150) for number in range(60)}
    iris.frame.assign(**more).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["check", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet"]
    found = scoreline(*words)
    assert found.code == 0, found.err
    assert re.search(r"and \d+ columns between them; pass --json for all", found.out)
    assert max(map(len, found.out.splitlines())) < 1200
    assert more.keys() < json.loads(scoreline(*words, "--json").out)["rows"]["scored"][0].keys()
