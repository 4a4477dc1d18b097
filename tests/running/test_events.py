"""The events of real runs, as subscribers in Python receive them."""

import json
from pathlib import Path

import pytest
from scoreline.pipeline.errors import RowsRejectedError
from scoreline.pipeline.events import Event
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.running.events import BlockWritten, NothingToDo, RunEnded, RunFailed, RunStarted, SplitPublished
from scoreline.pipeline.running.run import run

from conftest import Example


def job(tmp_path: Path, iris: Example) -> ScoreJob:
    """Iris in splits of 64 rows, in blocks of 50."""
    return ScoreJob(
        bundle=str(iris.bundle), input=str(tmp_path / "in.parquet"), output=str(tmp_path / "out"), run_id="one",
        batch_rows=50, split_rows=64, device="cpu",
    )  # fmt: skip


def test_a_run_and_the_next(tmp_path: Path, iris: Example) -> None:
    """Events come in order, with every row once; the next run reports that there is nothing to do."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    events: list[Event] = []
    run(job(tmp_path, iris), [events.append])
    names = [event.name for event in events if not isinstance(event, BlockWritten)]
    assert names == [
        "run_started",
        "bundle_loaded",
        "scoring_started",
        *["split_published"] * 3,
        "drift_measured",
        "run_recorded",
        "run_ended",
    ]
    assert sum(event.rows for event in events if isinstance(event, BlockWritten)) == 150
    published = sorted((event.split, event.rows) for event in events if isinstance(event, SplitPublished))
    assert published == [(0, 64), (1, 64), (2, 22)]
    written = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    assert events[-1].data()["verdict"] == written["verdict"]
    again: list[Event] = []
    run(job(tmp_path, iris), [again.append])
    started, measured, done = again
    assert isinstance(started, RunStarted)
    assert measured in events
    assert (started.kept, started.to_score) == (3, {})
    digest = written["bundle"]["digest"]
    assert done == NothingToDo(
        partitions=1, rows=150, rejected=0, made_by="one", bundle=str(iris.bundle), digest=digest
    )


def test_the_rate_is_that_of_the_rows_of_this_run(tmp_path: Path, iris: Example) -> None:
    """Rows of kept parts are counted, and have taken no time."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    run(job(tmp_path, iris), [])
    (tmp_path / "out" / "in-00001.parquet").unlink()
    events: list[Event] = []
    manifest = run(job(tmp_path, iris), [events.append])
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.rows, ended.rows_per_s) == (150, round(64 / manifest.wall_s))


def test_a_run_that_fails(tmp_path: Path, iris: Example) -> None:
    """Its last event is an error with the totals."""
    frame = iris.frame.copy()
    frame.loc[100, iris.features[0]] = None
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    events: list[Event] = []
    with pytest.raises(RowsRejectedError):
        run(job(tmp_path, iris), [events.append])
    last = events[-1]
    assert isinstance(last, RunFailed)
    assert (last.level, last.status, last.rows) == ("error", "failed", 64)


def test_an_exception_in_a_subscriber_ends_the_run(tmp_path: Path, iris: Example) -> None:
    """As a signal between two blocks would: published parts are kept, and there is no _SUCCESS."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)

    def stop(event: Event) -> None:
        if isinstance(event, SplitPublished) and event.split == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job(tmp_path, iris), [stop])
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found - {"in-00002.parquet"} == {"_scoreline", "in-00000.parquet", "in-00001.parquet"}
