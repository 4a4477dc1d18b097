"""The trace of a run: its spans add up to the stage table, also if there are more than it keeps."""

import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import StorageError
from scoreline.pipeline.events import Event
from scoreline.pipeline.reporting.trace import Trace, TraceNotWritten
from scoreline.pipeline.running.events import RunEnded, RunFailed

from conftest import Result

NONE: list[Event] = []


def seconds(document: dict[str, Any]) -> dict[str, float]:
    """The seconds of all spans by stage. Spans of one thread are apart."""
    found: dict[str, float] = defaultdict(float)
    ends: dict[int, float] = defaultdict(lambda: -math.inf)
    for event in sorted((one for one in document["traceEvents"] if one["ph"] == "X"), key=lambda one: one["ts"]):
        found[event["name"]] += event["dur"] / 1e6
        if event["tid"] != 1:
            assert event["ts"] >= ends[event["tid"]] - 1
            ends[event["tid"]] = event["ts"] + event["dur"]
    return found


def ended(stages: dict[str, float], kind: type[RunEnded] = RunEnded) -> RunEnded:
    """The last event of a run with some busy seconds."""
    spent = {name: {"busy_s": busy, "waiting_s": 0.0, "rows": 0, "bytes": 0} for name, busy in stages.items()}
    return kind(
        status="success", rows=0, rejected=0, out_of_bounds=0, above_threshold=0, seconds=1.0, rows_per_s=0,
        startup_s=0.0, stages=spent, verdict="",
    )  # fmt: skip


def test_a_run(score_four_files: Callable[..., Result], tmp_path: Path) -> None:
    """Stages by thread, a mark for every split, and the sums of run.json."""
    assert (
        score_four_files("--split-rows", "40", "--trace", tmp_path / "{run_date}.json", "--run-date", "2026-11-24").code
        == 0
    )
    document = json.loads((tmp_path / "2026-11-24.json").read_text())
    stages = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())["stages"]
    found = seconds(document)
    for name, spent in stages.items():
        assert found[name] == pytest.approx(spent["busy_s"], abs=3e-6), name
    names = {one["args"]["name"] for one in document["traceEvents"] if one["ph"] == "M"}
    assert {"flow-0", "publisher-0"} <= names
    marks = [one for one in document["traceEvents"] if one["ph"] == "i"]
    assert sorted(one["name"] for one in marks) == [f"{n}.parquet split {at}" for n in range(4) for at in range(4)]
    assert sum(one["args"]["rows"] for one in marks) == 600
    assert document["otherData"]["splits"] == document["otherData"]["splits_marked"] == 16


PIECES = st.lists(st.tuples(st.sampled_from(["read", "forward"]), st.floats(0, 50), st.floats(0, 1)), max_size=60)


@settings(max_examples=12)
@given(threads=st.lists(PIECES, min_size=1, max_size=3), kept=st.integers(8, 100))
def test_sums_are_kept(tmp_path_factory: pytest.TempPathFactory, threads: list[Any], kept: int) -> None:
    """Whatever the number of spans that a trace keeps."""
    path = tmp_path_factory.mktemp("trace") / "t.json"
    trace = Trace(path, NONE.append, max_spans=kept)
    totals = {"read": 0.0, "forward": 0.0}

    def work(pieces: list[tuple[str, float, float]]) -> None:
        start = 0.0
        for stage, pause, busy in pieces:
            start += pause
            trace.record(stage, start, busy)
            totals[stage] += busy
            start += busy

    for pieces in threads:
        thread = Thread(target=work, args=(pieces,))
        thread.start()
        thread.join()
    trace(ended(totals))
    document = json.loads(path.read_text())
    assert sum(one["ph"] == "X" for one in document["traceEvents"]) <= kept
    found = seconds(document)
    assert {name: found[name] for name in totals} == pytest.approx(totals, abs=1e-5)


def test_seconds_that_were_measured_elsewhere(tmp_path: Path) -> None:
    """A GPU's own seconds replace those of the thread that waited for it; seconds without a thread have a row."""
    trace = Trace(tmp_path / "t.json", NONE.append)
    trace.record("forward", 1.0, 4.0)
    trace.record("forward", 6.0, 4.0)
    trace(ended({"forward": 2.0, "pad": 0.5}))
    spans = [one for one in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if one["ph"] == "X"]
    assert [(one["name"], one["dur"] / 1e6, one["tid"]) for one in spans] == [
        ("pad", 0.5, 1), ("forward", 1.0, 2), ("forward", 1.0, 2),
    ]  # fmt: skip


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Fails a run that has succeeded, and is reported by one that has failed anyway."""
    reported: list[Event] = []
    trace = Trace(tmp_path / "no" / "t.json", reported.append)
    with pytest.raises(StorageError, match=r"the trace '.*' cannot be written: No such file"):
        trace(ended({}))
    assert reported == []
    trace(ended({}, RunFailed))
    (event,) = reported
    assert isinstance(event, TraceNotWritten)
    assert "No such file" in event.reason
