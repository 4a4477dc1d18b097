"""The progress of a run, its log format, and tables."""

import json
import logging

import pytest
from scoreline.jobs.terminal import logs, progress
from scoreline.jobs.terminal.progress import Progress
from scoreline.jobs.terminal.tables import size, table
from scoreline.pipeline.running.events import BlockWritten, ScoringStarted


def test_a_heartbeat_off_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, rate and time left, once the interval has passed, and not before."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    shown = Progress(logs.EventLog(logs.configure("json", "info")), bar=None)
    shown(ScoringStarted(rows=1000))
    for seconds in (10.0, 25.0, 31.0, 40.0):
        now[0] = 100.0 + seconds
        shown(BlockWritten(rows=100))
    shown.close()
    logs.close()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["heartbeat"]
    assert (lines[0]["rows"], lines[0]["of_rows"]) == (300, 1000)
    assert lines[0]["rows_per_s"] == round(300 / 31)
    assert lines[0]["seconds_left"] == round(700 / (300 / 31))


def test_a_bar_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """Drawn on stderr, and removed at the end."""
    shown = Progress(logs.EventLog(logs.configure("text", "info")), bar=True)
    shown(ScoringStarted(rows=1000))
    shown(BlockWritten(rows=500))
    shown.close()
    logs.close()
    assert "rows" in capsys.readouterr().err


def test_records_of_other_libraries_have_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    """Their warnings are JSON; lower levels are not shown."""
    logs.configure("json", "info")
    logging.getLogger("somebody").info("chatter")
    logging.getLogger("somebody").warning("watch out")
    logs.close()
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["level"]) == ("watch out", "warning")


def test_tables_align_and_escape() -> None:
    """Numbers are aligned right, also with a unit, sentences are not; a line end in a cell does not break the table."""
    lines = table(["name", "rows"], [["a\nb", "10"], ["c", "2,000"]]).splitlines()
    assert lines == ["name   rows", "────  ─────", "a\\nb     10", "c     2,000"]
    lines = table(
        ["of", "share", "file", "error"], [["a", "4.5%", "1.csv", "5 rows"], ["b", "-12%", "10.csv", "3 of 4"]]
    )
    assert [line[4:] for line in lines.splitlines()] == [
        "share  file    error", "─────  ──────  ──────", " 4.5%  1.csv   5 rows", " -12%  10.csv  3 of 4"
    ]  # fmt: skip
    assert [size(999), size(1_500), size(2_000_000)] == ["999 B", "1.5 kB", "2.0 MB"]
