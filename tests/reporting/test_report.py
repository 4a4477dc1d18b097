"""The report is written at every end of a run, and depends only on the other files of the output."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from scoreline.pipeline.errors import StorageError
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import REPORT
from scoreline.pipeline.reporting import build
from scoreline.pipeline.reporting.report import write_report

from conftest import Example, Result

Command = Callable[..., Result]


def title(out: Path) -> str:
    """The headline of the report."""
    text = (out / "_scoreline" / "report.html").read_text()
    return text.partition("<h1>")[2].partition("</h1>")[0]


def test_every_end(score: Command, iris: Example, iris_file: Path, tmp_path: Path) -> None:
    """Success; nothing to do; failures before and while scoring; rejects above the limit."""
    out = tmp_path / "out"
    assert score(iris_file, "--keys", "nonsense").code == 65
    assert not (out / "_scoreline").exists()  # it was refused before it had the lock
    assert score(iris_file, "--split-rows", "40").code == 0
    report = out / "_scoreline" / "report.html"
    written = report.read_bytes()
    assert title(out) == "Completed"
    assert b"150 in = 150 scored + 0 rejected" in written
    assert score(iris_file, "--split-rows", "40").code == 0
    assert report.read_bytes() == written
    assert score(iris_file, "--split-rows", "40", "--keys", "nonsense").code == 65
    assert title(out) == "Failed before scoring"
    frame = iris.frame.copy()
    frame.loc[100, iris.features[0]] = None
    frame.to_parquet(iris_file, index=False)
    assert score(iris_file, "--split-rows", "40").code == 65
    assert title(out).startswith("Failed: in.parquet: row 100: ")
    assert "1 row rejected, 0 allowed" in report.read_text()
    assert score(iris_file, "--split-rows", "40", "--max-rejects", "1").code == 0
    assert "is null" in report.read_text()
    assert title(out).startswith("Completed")


def test_shards(scoreline: Command, iris: Example, four_files: Path, tmp_path: Path) -> None:
    """`finish` writes it, a shard does not."""
    words = ["score", "--bundle", iris.bundle, "--input", four_files, "--output", tmp_path / "out"]
    words += ["--device", "cpu", "--max-rejects", "9"]
    for number in (1, 2):
        assert scoreline(*words, "--shard", f"{number}/2").code == 0
    assert not (tmp_path / "out" / "_scoreline" / "report.html").exists()
    assert scoreline("finish", tmp_path / "out").code == 0
    assert title(tmp_path / "out") == "Completed"
    assert "<dt>shards</dt>" in (tmp_path / "out" / "_scoreline" / "report.html").read_text()


def test_again(score: Command, iris_file: Path, tmp_path: Path) -> None:
    """The same bytes at any time, and nothing else is changed."""
    out = tmp_path / "out"
    assert score(iris_file).code == 0
    report = out / "_scoreline" / "report.html"
    written = report.read_bytes()
    report.unlink()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert write_report(str(out)) == str(report)
    assert report.read_bytes() == written
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path != report} == before


@pytest.mark.parametrize("at", ["store", "page"])
def test_a_report_that_cannot_be_written(
    score: Command, iris_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whatever the reason, the run ends as it would without it, and the log says so."""

    write = FolderStore.write

    def write_others(store: FolderStore, name: str, data: bytes) -> None:
        if name == REPORT:
            raise StorageError("no space left")
        write(store, name, data)

    def fail(_: object) -> None:
        raise ValueError("no\nsuch figure")

    if at == "page":
        monkeypatch.setattr(build, "make_page", fail)
    else:
        monkeypatch.setattr(FolderStore, "write", write_others)
    result = score(iris_file)
    assert result.code == 0
    reason = "no space left" if at == "store" else "no such figure"
    assert result.event("report_not_written")["reason"] == reason
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert not (tmp_path / "out" / "_scoreline" / "report.html").exists()


def test_names_from_files(score: Command, iris: Example, tmp_path: Path) -> None:
    """Markup in the name of a file and in a cell is text."""
    folder = tmp_path / "in"
    folder.mkdir()
    frame = iris.frame.astype({iris.features[0]: str})
    frame.loc[3, iris.features[0]] = "<script>alert(1)</script>"
    frame.to_csv(folder / "<b>\u202e&.csv", index=False)
    assert score(folder, "--max-rejects", "1").code == 0
    text = (tmp_path / "out" / "_scoreline" / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;b&gt;\\u202e&amp;.csv row 3" in text
    assert "<script" not in text
    assert "<b>" not in text
    assert os.listdir(folder) == ["<b>\u202e&.csv"]  # noqa: PTH208 - the name as the system has it
