"""`scoreline importance`: the table, the limit, JSON, the picture, and outputs that have no attributions."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from attributed_output import write_output
from conftest import Result

Command = Callable[..., Result]
TABLE = pa.table(
    {
        "prediction": [1.0, 2.0, 3.0],
        "attribution_small": pa.array([0.1, -0.1, None], pa.float32()),
        "attribution_large": pa.array([2.0, 4.0, None], pa.float32()),
        "attribution_gap": pa.array([1e-7, -3e-7, None], pa.float32()),
    }
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_output(tmp_path / "out", [TABLE])


def test_the_table(scoreline: Command, out: Path) -> None:
    """The most important feature first, with the sign of the mean."""
    found = scoreline("importance", out)
    assert found.code == 0, found.err
    first, *_ = found.out.splitlines()
    assert first == "shapley: 2 rows explained; they sum to the difference in score within 3e-07"
    lines = [line.split() for line in found.out.splitlines()[-2:]]
    assert lines == [["large", "3", "+3", "4"], ["small", "0.1", "+0", "0.1"]]


def test_the_limit(scoreline: Command, out: Path) -> None:
    """Of features in the table and the picture; JSON has all of them."""
    picture = out.parent / "i.svg"
    found = scoreline("importance", out, "--top", "1", "--picture", picture)
    assert "large" in found.out
    assert "small" not in found.out
    assert picture.read_text().startswith("<svg")
    assert "small" not in picture.read_text()
    report = json.loads(scoreline("importance", out, "--top", "1", "--json").out)
    assert [one["feature"] for one in report["features"]] == ["large", "small"]
    assert (report["method"], report["rows"]) == ("shapley", 2)
    assert report["largest_gap"] == pytest.approx(3e-7)
    assert scoreline("importance", out, "--top", "0").code == 2


def test_a_picture_of_another_kind_is_refused(scoreline: Command, out: Path) -> None:
    """Under the name of a PNG, a viewer would call it broken."""
    found = scoreline("importance", out, "--picture", out.parent / "i.png")
    assert found.code == 2
    assert "i.png' does not end in .svg; pictures are written as SVG" in found.message
    assert not (out.parent / "i.png").exists()


def test_no_row_was_explained(scoreline: Command, tmp_path: Path) -> None:
    """A sentence instead of a table of zeros."""
    found = scoreline("importance", write_output(tmp_path / "out", [TABLE.slice(2)]))
    assert found.code == 0
    assert found.out == "shapley: no row was selected for explanation; use a larger --explain-rows\n"


def test_outputs_without_attributions(scoreline: Command, tmp_path: Path) -> None:
    """And folders that are not outputs."""
    plain = scoreline("importance", write_output(tmp_path / "out", [TABLE], method=None))
    assert (plain.code, "score it with --explain shapley" in plain.message) == (2, True)
    assert scoreline("importance", tmp_path).code == 66


def test_a_picture_in_a_folder_that_does_not_exist(scoreline: Command, out: Path) -> None:
    """The folder is not created for a typing mistake."""
    found = scoreline("importance", out, "--picture", out.parent / "none" / "i.svg")
    assert found.code == 74
    assert "i.svg' cannot be written: No such file or directory; choose another path" in found.message
    assert not (out.parent / "none").exists()
