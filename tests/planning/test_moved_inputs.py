"""Parts record the folder of their input: another input with the same names is refused before anything is changed, the
same input is recognised under any spelling, and a moved one is accepted with --moved-input."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Example, Result

Command = Callable[..., Result]

#: Files that each run writes, also one that is refused.
LAST_RUN = ("lock", "history.jsonl", "report.html")


@pytest.fixture
def nights(tmp_path: Path, iris: Example) -> tuple[Path, Path]:
    """Two folders with files of the same names."""
    folders = tmp_path / "incoming" / "2026-11-20", tmp_path / "incoming" / "2026-11-21"
    for night, folder in enumerate(folders):
        (folder / "sub").mkdir(parents=True)
        for name in ("a", "sub/b"):
            iris.frame.assign(row_id=iris.frame["row_id"] + night).to_parquet(folder / f"{name}.parquet", index=False)
    return folders


def everything(out: Path) -> dict[str, tuple[bytes, int]]:
    """Every file except those that describe the last run, also one that was refused, with its mtime."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in LAST_RUN]
    return {path.relative_to(out).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def run_json(out: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads((out / "_scoreline" / "run.json").read_text())
    return fields


@pytest.mark.parametrize("words", [(), ("--force",), ("--prune",), ("--split-rows", "40"), ("--prefix", "p_")])
@pytest.mark.parametrize("second", ["{}", "{}/**/*.parquet", "{}/a.parquet"])
def test_another_input_does_not_replace_the_first(
    score: Command, nights: tuple[Path, Path], tmp_path: Path, second: str, words: tuple[str, ...]
) -> None:
    assert score(nights[0]).code == 0
    before = everything(tmp_path / "out")
    result = score(second.format(nights[1]), *words)
    assert result.code == 73, result.err
    for text in ("contains rows of 'a.parquet'", str(nights[0]), str(nights[1]), "{run_date}", "--moved-input"):
        assert text in result.message
    assert everything(tmp_path / "out") == before
    assert score(nights[0]).code == 0


def test_a_link_that_now_leads_elsewhere_is_another_input(score: Command, nights: tuple[Path, Path]) -> None:
    """As a link `current` that leads to another folder every night."""
    current = nights[0].parent / "current"
    current.symlink_to(nights[0])
    assert score(current).code == 0
    current.unlink()
    current.symlink_to(nights[1])
    assert score(current).code == 73


def test_a_root_is_recognised_under_any_spelling(
    score: Command, nights: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative, absolute, through a link, with dots, as a glob, as a single file."""
    root = nights[0]
    assert score(root).code == 0
    before = everything(tmp_path / "out")
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "up").symlink_to(root.parent)
    monkeypatch.chdir(root)
    for written in (
        root, f"{root}/", ".", "./", "../2026-11-20", os.path.relpath(root), f"{root}/sub/..", tmp_path / "link",
        tmp_path / "up" / root.name, f"{root}/**", "**", f"{tmp_path}/link/**/*.parquet",
    ):  # fmt: skip
        result = score(written)
        assert (result.code, "nothing_to_do" in result.err) == (0, True), (written, result.err)
    assert everything(tmp_path / "out") == before
    for written in ("a.parquet", root / "a.parquet", "*.parquet", tmp_path / "link" / "a.parquet"):
        assert score(written).event("run_started")["kept"] == 1


def test_a_moved_input_is_accepted_and_recorded(
    score: Command, scoreline: Command, nights: tuple[Path, Path], tmp_path: Path
) -> None:
    """Parts that are up to date are kept, others are replaced, and the next run needs no flag."""
    out, moved = tmp_path / "out", tmp_path / "archive"
    assert score(nights[0]).code == 0
    parts = {name: found for name, found in everything(out).items() if name.endswith(".parquet")}
    shutil.move(nights[0], moved)
    assert score(moved).code == 73
    result = score(moved, "--moved-input")
    assert (result.code, result.event("run_started")["kept"], result.event("run_started")["to_score"]) == (0, 2, {})
    assert {name: found for name, found in everything(out).items() if name.endswith(".parquet")} == parts
    assert (run_json(out)["root"], run_json(out)["roots"]) == (str(moved), [str(nights[0])])
    assert scoreline("verify", out).code == 0
    before = everything(out)
    for words in ((), ("--moved-input",)):
        assert "nothing_to_do" in score(moved, *words).err
    assert everything(out) == before
    shutil.copy(nights[1] / "a.parquet", moved / "a.parquet")
    result = score(moved)
    assert result.event("run_started")["to_score"] == {"input changed": 1}
    receipts = [pq.read_metadata(out / name).metadata[b"scoreline.receipt"] for name in ("a.parquet", "sub/b.parquet")]
    assert [json.loads(receipt)["root"] for receipt in receipts] == [str(moved), str(nights[0])]
    assert scoreline("verify", out).code == 0
    assert "nothing_to_do" in score(moved).err


def test_the_old_root_is_no_longer_accepted_after_a_move(
    score: Command, nights: tuple[Path, Path], tmp_path: Path
) -> None:
    """Although kept parts name it."""
    moved = tmp_path / "archive"
    assert score(nights[0]).code == 0
    shutil.move(nights[0], moved)
    assert score(moved, "--moved-input").code == 0
    shutil.copytree(nights[1], nights[0])
    result = score(nights[0])
    assert result.code == 73
    assert str(moved) in result.message
    shutil.rmtree(nights[0])
    shutil.move(moved, nights[0])
    assert score(nights[0], "--moved-input").code == 0
    assert (run_json(tmp_path / "out")["root"], run_json(tmp_path / "out")["roots"]) == (str(nights[0]), [])


@pytest.mark.parametrize("how", ["job", "environment"])
def test_the_flag_may_be_set_in_a_job_file_or_the_environment(
    score: Command, nights: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    assert score(nights[0]).code == 0
    words = []
    if how == "job":
        (tmp_path / "job.toml").write_text("moved_input = true\n")
        words = ["--job", tmp_path / "job.toml"]
    else:
        monkeypatch.setenv("SCORELINE_MOVED_INPUT", "1")
    result = score(nights[1], *words)
    assert (result.code, result.event("run_started")["to_score"]) == (0, {"input changed": 2})


def test_an_input_with_other_names_is_accepted(score: Command, nights: tuple[Path, Path], tmp_path: Path) -> None:
    """A second input that replaces no part of the first is allowed; the parts of the first are orphaned."""
    (nights[1] / "a.parquet").rename(nights[1] / "c.parquet")
    shutil.rmtree(nights[1] / "sub")
    assert score(nights[0]).code == 0
    assert score(nights[1]).event("orphaned_parts_found")["count"] == 2
    result = score(nights[0])
    assert (result.code, result.event("run_started")["kept"]) == (0, 2)
