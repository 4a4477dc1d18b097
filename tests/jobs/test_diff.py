"""`scoreline diff`: tables, JSON, the picture, the limit, and evaluations of both outputs."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

from conftest import Example, Result
from described import save_described
from textbook import ClassificationModel, randomized

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, iris: Example) -> tuple[Path, Path]:
    """Two files, scored by a model and by one with other weights, in other splits."""
    from scoreline.jobs import cli

    folder = tmp_path_factory.mktemp("both")
    torch.manual_seed(8)
    other = randomized(ClassificationModel(len(iris.features), [8], len(iris.labels)))
    save_described(
        folder / "other", other, features=iris.features, task=iris.task, scaler=iris.scaler, labels=iris.labels,
        sample=iris.frame,
    )  # fmt: skip
    (folder / "data").mkdir()
    iris.frame.to_parquet(folder / "data" / "a.parquet", index=False)
    iris.frame.tail(60).assign(row_id=lambda frame: frame["row_id"] + 1).to_csv(folder / "data" / "b.csv", index=False)
    for name, bundle, split in (("A", iris.bundle, 40), ("B", folder / "other", 33)):
        words = ["--bundle", bundle, "--input", folder / "data", "--output", folder / name, "--split-rows", split]
        assert cli.run(["score", *map(str, words), "--log-level", "error"]) == 0
    return folder / "A", folder / "B"


def frames(both: tuple[Path, Path]) -> list[pd.DataFrame]:
    """All rows of both outputs, in order."""
    return [
        pd.concat(pd.read_parquet(part) for part in sorted(folder.glob("*.parquet"))).reset_index() for folder in both
    ]


def test_tables(scoreline: Command, both: tuple[Path, Path], iris: Example) -> None:
    """Rows, flips with their matrix, numbers, inputs and movers."""
    found = scoreline("diff", *both, "--movers", "2")
    assert found.code == 0, found.err
    first, second = frames(both)
    flips = int((first["prediction"] != second["prediction"]).sum())
    lines = found.out.splitlines()
    assert lines[:2] == ["210 rows in both", f"{flips} rows with another label ({flips / 210:.2%})"]
    matrix = lines[lines.index("prediction") + 1 :]
    counts = pd.crosstab(first["prediction"], second["prediction"]).reindex(columns=iris.labels, fill_value=0)
    shown = {line.split()[0]: line.split()[1:] for line in matrix[2 : 2 + len(counts)]}
    for label, row in counts.iterrows():
        there = dict(zip(matrix[0].split()[3:], shown[str(label)], strict=True))
        assert {name: int(there.get(str(name), 0)) for name in iris.labels} == row.to_dict()
    assert {line.split()[0] for line in lines if line.startswith("probability_")} == {
        f"probability_{label}" for label in iris.labels
    }
    largest = max(
        (second[f"probability_{label}"].astype(float) - first[f"probability_{label}"]).abs().max()
        for label in iris.labels
    )
    assert f"{largest:.3g}" in lines[-2]


def test_json_and_picture(scoreline: Command, both: tuple[Path, Path], tmp_path: Path) -> None:
    """By key: text keys of a CSV are not those of a Parquet file."""
    refused = scoreline("diff", *both, "--on", "row_id")
    assert refused.code == 65
    assert "key 'row_id' is int64 in a-00000.parquet and string in b.csv-00000.parquet" in refused.message
    found = scoreline("diff", *both, "--json", "--picture", tmp_path / "d.svg", "--movers", "0")
    report = json.loads(found.out)
    assert (report["rows"], report["movers"], report["evaluation"]) == (210, [], None)
    assert sum(pair["rows"] for pair in report["labels"]["prediction"]) == 210
    assert [one["source"] for one in report["inputs"]] == ["a.parquet", "b.csv"]
    picture = (tmp_path / "d.svg").read_text()
    assert picture.startswith("<svg")
    assert picture.count("<rect ") == 1 + sum(
        sum(rows > 0 for rows in one["histogram"]["rows"]) for one in report["numbers"]
    )


def test_the_limit_for_flips(scoreline: Command, both: tuple[Path, Path], tmp_path: Path) -> None:
    """Above it, everything is printed, and the command ends with 65."""
    first, second = frames(both)
    flips = int((first["prediction"] != second["prediction"]).sum())
    assert flips > 1
    assert scoreline("diff", *both, "--max-flips", flips).code == 0
    found = scoreline("diff", *both, "--max-flips", flips - 1)
    assert found.code == 65
    assert f"{flips} rows of 210 have another label" in found.message
    assert "210 rows in both" in found.out
    assert scoreline("diff", *both, "--max-flips", "1%").code == 65
    assert scoreline("diff", both[0], both[0], "--max-flips", "0").code == 0


def test_both_evaluations(scoreline: Command, both: tuple[Path, Path]) -> None:
    """The measures of scoreline evaluate, side by side."""
    found = scoreline("diff", *both, "--label", "truth", "--json")
    evaluation = json.loads(found.out)["evaluation"]
    for side, frame in zip(("first", "second"), frames(both), strict=True):
        wanted = accuracy_score(frame["truth"].astype(str), frame["prediction"].astype(str))
        assert evaluation[side]["accuracy"] == pytest.approx(wanted)
    lines = scoreline("diff", *both, "--label", "truth").out.splitlines()
    assert any(line.startswith("accuracy ") for line in lines)


def test_a_task_without_labels(scoreline: Command, diabetes: Example, tmp_path: Path) -> None:
    """Numbers only; --max-flips is refused."""
    diabetes.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", diabetes.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words).code == 0
    found = scoreline("diff", tmp_path / "out", tmp_path / "out")
    assert "label" not in found.out
    assert "100.0%" in found.out
    refused = scoreline("diff", tmp_path / "out", tmp_path / "out", "--max-flips", "1%")
    assert (refused.code, "not for a regression" in refused.message) == (2, True)
