"""Every run that has the lock leaves a line, however it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.errors import StorageError
from scoreline.pipeline.monitoring.history import read_history
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.running.findings import DriftMeasured
from scoreline.pipeline.running.ledger import RunClock
from scoreline.pipeline.running.recorder import RunRecorder
from scoreline.schemas.drift import WorstDrift
from scoreline.schemas.run import DriftSummary

from conftest import Example, Result

Command = Callable[..., Result]


def test_every_end(score: Command, iris_file: Path, tmp_path: Path) -> None:
    """A success, one with nothing to do, a part that is rescored, and failures before and while scoring."""
    out = tmp_path / "out"
    words = ["--split-rows", "40"]
    assert score(iris_file, *words, "--run-id", "a").code == 0
    record = (out / "_scoreline" / "run.json").read_bytes()
    assert score(iris_file, *words, "--run-id", "b").code == 0
    assert (out / "_scoreline" / "run.json").read_bytes() == record
    (out / "in-00001.parquet").unlink()
    assert score(iris_file, *words, "--run-id", "c").code == 0
    assert score(iris_file, *words, "--run-id", "d", "--keys", "nonsense").code == 65
    entries = read_history(str(out)).entries
    found = [(one.run_id, one.exit_code, one.rows_in, one.rows_read, one.rows_rejected) for one in entries]
    assert found == [("a", 0, 150, 150, 0), ("b", 0, 150, 0, 0), ("c", 0, 150, 40, 0), ("d", 65, None, None, None)]
    assert entries[3].error is not None
    assert "'nonsense' is missing" in entries[3].error
    assert entries[0].waited_s.keys() >= {"start-up", "discover", "read", "forward"}
    assert entries[1].waited_s == {}
    assert all(one.started < one.ended for one in entries)
    assert sum(entries[0].waited_s.values()) <= entries[0].wall_s + 0.01


def test_rejects_and_refusals(score: Command, iris: Example, tmp_path: Path) -> None:
    """A run with too many rejects has its rows; one that is refused before the lock leaves nothing."""
    frame = iris.frame.copy()
    frame.loc[100, iris.features[0]] = None
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    assert score(tmp_path / "in.parquet", "--split-rows", "40").code == 65
    (entry,) = read_history(str(tmp_path / "out")).entries
    assert (entry.exit_code, entry.rows_rejected) == (65, 0)
    assert score(tmp_path / "nowhere").code == 66
    assert len(read_history(str(tmp_path / "out")).entries) == 1


def test_a_line_that_cannot_be_written(
    score: Command, iris_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is complete all the same."""

    def fail(*_: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(FolderStore, "add_line", fail)
    result = score(iris_file)
    assert result.code == 0
    assert result.event("history_not_written")["reason"] == "no space left"
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_the_largest_drift(iris: Example) -> None:
    """Is that of the reference or of the run before; zero, where nothing differs by more than chance."""
    recorder = RunRecorder(
        ScoreJob(bundle="b", input="i", output="o", run_id="x"), open_bundle(iris.bundle), RunClock()
    )
    given = {"worst_column": "age", "worst_partition": "a", "red": 1, "yellow": 0, "tests": 8, "unprofiled_parts": 0}
    before = {"previous_run": "w", "worst_from_previous": WorstDrift(column="city", partition=None, psi=0.5)}
    for changes, expected in (
        ({"worst_psi": 0.5}, ("age", "a", "reference", 0.5)),
        ({"worst_psi": 0.5, **before}, ("age", "a", "reference", 0.5)),
        ({"worst_psi": 0.4, **before}, ("city", None, "previous", 0.5)),
        ({"worst_psi": None, "worst_column": None, "worst_partition": None}, (None, None, None, 0.0)),
    ):
        recorder(DriftMeasured.of(DriftSummary(**{**given, **changes})))
        assert (found := recorder.entry(None).drift) is not None
        assert (found.column, found.partition, found.against, found.psi) == expected
