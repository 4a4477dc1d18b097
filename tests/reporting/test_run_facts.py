"""The facts of an output, read from its files; those that are damaged or of another run are left out and named."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scoreline.pipeline.errors import NoInputError
from scoreline.pipeline.reporting import run_facts
from scoreline.pipeline.reporting.run_facts import InputCount, read_facts

from conftest import Example, Result

Command = Callable[..., Result]


@pytest.fixture
def out(score: Command, iris: Example, tmp_path: Path) -> Path:
    """Three files with 3, 1 and no rejects, and a broken one, scored twice."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, lost in enumerate((3, 1, 0)):
        frame = iris.frame.copy()
        frame.loc[: lost - 1, iris.features[0]] = None
        frame.to_parquet(folder / f"{number}.parquet", index=False)
    assert score(folder, "--max-rejects", "5", "--run-id", "a").code == 0
    (folder / "3.parquet").write_bytes(b"PAR1 and more PAR1")
    assert score(folder, "--max-rejects", "5", "--run-id", "b").code == 65
    return tmp_path / "out"


def test_all_files(out: Path, iris: Example) -> None:
    """The last run, with its profile, its inputs and its rejects."""
    found = read_facts(str(out))
    assert found.manifest is not None
    assert found.profile is not None
    assert (found.manifest.run_id, found.profile.run.run_id) == ("b", "b")
    assert [one.run_id for one in found.earlier] == ["a"]
    assert (found.later, found.problems) == ((), ())
    assert [one.source for one in found.failed] == ["3.parquet"]
    assert found.most_rejects == (InputCount(source="0.parquet", rows=3), InputCount(source="1.parquet", rows=1))
    (group,) = found.groups
    assert (group.column, group.reason, group.rows, group.inputs, found.grouped) == (
        iris.features[0], "is null", 4, 2, 4,
    )  # fmt: skip


def test_no_run_has_scored(score: Command, iris: Example, iris_file: Path, tmp_path: Path) -> None:
    """So nothing is missing; a record that was removed is."""
    assert score(iris_file, "--device", "cuda").code == 69
    found = read_facts(str(tmp_path / "out"))
    assert (found.manifest, found.problems, [one.exit_code for one in found.later]) == (None, (), [69])
    assert score(iris_file).code == 0
    (tmp_path / "out" / "_scoreline" / "run.json").unlink()
    (problem,) = read_facts(str(tmp_path / "out")).problems
    assert "has no _scoreline/run.json" in problem


def test_the_profile_of_an_earlier_run_of_the_same_name(score: Command, out: Path, tmp_path: Path) -> None:
    """It does not describe the last run, which has not counted its rows."""
    words = ("--max-rejects", "5", "--run-id", "b", "--no-profile", "--force")
    assert score(tmp_path / "in", *words).code == 65
    found = read_facts(str(out))
    assert found.manifest is not None
    assert (found.manifest.run_id, found.profile) == ("b", None)


def test_the_files_with_the_most_rejects(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only as many as a limit allows are read."""
    monkeypatch.setattr(run_facts, "MAX_FILES", 1)
    assert read_facts(str(out)).grouped == 3
    monkeypatch.setattr(run_facts, "MAX_FILES", 9)
    monkeypatch.setattr(run_facts, "MAX_ROWS", 3)
    assert read_facts(str(out)).grouped == 3


def test_a_later_run_that_failed(score: Command, out: Path, tmp_path: Path) -> None:
    """It has a line in the history, and no manifest."""
    assert score(tmp_path / "in", "--run-id", "c", "--keys", "nonsense").code == 65
    found = read_facts(str(out))
    assert [one.run_id for one in found.earlier] == ["a"]
    assert [(one.run_id, one.exit_code) for one in found.later] == [("c", 65)]


def test_damage(out: Path) -> None:
    """Each file that cannot be used is a problem, and the others are read."""
    records = out / "_scoreline"
    (out / "_rejects" / "0.arrow").write_bytes(b"torn")
    found = read_facts(str(out))
    assert (found.groups, len(found.problems)) == ((), 1)
    assert "0.arrow" in found.problems[0]
    (records / "profile.json").write_bytes(b"{}")
    (records / "parts.pq").write_bytes(b"")
    found = read_facts(str(out))
    assert (found.profile, found.failed) == (None, ())
    assert found.manifest is not None
    assert "parts.pq is damaged" in found.problems[0]
    (records / "run.json").unlink()
    found = read_facts(str(out))
    assert (found.manifest, found.earlier) == (None, ())
    assert [one.run_id for one in found.later] == ["a", "b"]


def test_no_output(tmp_path: Path) -> None:
    """A folder without an output is refused."""
    with pytest.raises(NoInputError, match="not an output"):
        read_facts(str(tmp_path))
