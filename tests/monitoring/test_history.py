"""Reading the history of outputs."""

from pathlib import Path
from typing import Any

import pytest
from scoreline.pipeline.errors import NoInputError
from scoreline.pipeline.monitoring.history import append_entry, find_outputs, read_history
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import HISTORY
from scoreline.schemas.history import HistoryEntry, LargestDrift


def entry(run_id: str, **changes: Any) -> HistoryEntry:
    """The line of a successful run."""
    fields = {
        "run_id": run_id, "started": "2026-11-24T06:00:00.000+00:00", "ended": "2026-11-24T06:00:09.000+00:00",
        "exit_code": 0, "bundle": "b", "digest": "sha256:" + "0" * 64, "rows_in": 10, "rows_rejected": 1,
        "rows_read": 10, "wall_s": 9.0, "waited_s": {"read": 1.5},
    }  # fmt: skip
    return HistoryEntry(**{**fields, **changes})


def write(folder: Path, *entries: HistoryEntry) -> Path:
    """An output with a history."""
    store = FolderStore(folder)
    store.prepare()
    for one in entries:
        append_entry(store, one)
    return folder


def test_entries_come_back(tmp_path: Path) -> None:
    """In order; lines that are damaged are counted, and the line after a torn one is whole."""
    out = write(tmp_path / "out", entry("a"), entry("b", error='two\nlines "x"', exit_code=65))
    with (out / HISTORY).open("ab") as file:
        file.write(b'{"format": 1, "run_id"')
    append_entry(FolderStore(out), entry("c", rows_in=None))
    found = read_history(str(out))
    assert found.entries == (entry("a"), entry("b", error='two\nlines "x"', exit_code=65), entry("c", rows_in=None))
    assert found.unreadable == 1


def test_lines_of_earlier_versions(tmp_path: Path) -> None:
    """Have no drift."""
    out = write(tmp_path / "out")
    known = entry("b", drift=LargestDrift(psi=0.5, column="age", partition="a", against="reference"))
    FolderStore(out).add_line(HISTORY, entry("a").model_dump_json(exclude={"drift"}).encode())
    append_entry(FolderStore(out), known)
    assert read_history(str(out)).entries == (entry("a"), known)


def test_outputs_without_runs(tmp_path: Path) -> None:
    """An output whose first run goes on has none; other folders are not outputs."""
    assert read_history(str(write(tmp_path / "out"))).entries == ()
    with pytest.raises(NoInputError, match="is not an output"):
        read_history(str(tmp_path))


def test_globs(tmp_path: Path) -> None:
    """Match outputs only; a name with wildcards in it is taken as it is."""
    for name in ("b", "a", "c[1]"):
        write(tmp_path / name)
    (tmp_path / "d").mkdir()
    assert [Path(one).name for one in find_outputs([f"{tmp_path}/*", f"{tmp_path}/c[1]", "x"])] == [
        "a", "b", "c[1]", "c[1]", "x",
    ]  # fmt: skip
    with pytest.raises(NoInputError, match="no output of scoreline score matches"):
        list(find_outputs([f"{tmp_path}/x*"]))
