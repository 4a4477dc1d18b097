"""Findings about a run's input, output and model, as events."""

from pathlib import Path

from scoreline.pipeline.inputs.discover import Discovery
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.running.findings import (
    blocks_retried,
    input_findings,
    kept_part_differences,
    new_inputs,
    output_findings,
)
from scoreline.pipeline.scoring.retries import Retries


def test_outputs() -> None:
    """No events for a clean output; orphaned parts are reported only if they are kept."""
    assert not list(output_findings(ExistingParts(), prune=False))
    existing = ExistingParts(orphaned_parts=["b.parquet", "c.parquet"], foreign_files=["x"], manifest_error="damaged")
    names = ["manifest_unreadable", "orphaned_parts_found", "foreign_files_found"]
    events = list(output_findings(existing, prune=False))
    assert [event.name for event in events] == names
    assert [event.data().get("count") for event in events] == [None, 2, 1]
    assert [event.name for event in output_findings(existing, prune=True)] == [names[0], names[2]]


def test_tables(tmp_path: Path) -> None:
    """Their version is an event; files that are new in the folder since then are not inputs of this version."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    job = ScoreJob(bundle="b", input=str(tmp_path), output="out", run_id="r")
    folder, table = (Discovery(real_root=str(tmp_path), partitions=(), table_version=one) for one in (None, "7"))
    assert [event.data() for event in input_findings(table)] == [{"version": "7", "files": 0}]
    assert not list(input_findings(folder))
    assert [event.name for event in new_inputs(job, folder)] == ["new_inputs_found"]
    assert not list(new_inputs(job, table))


def test_kept_parts() -> None:
    """One event for each other environment, with only the differences."""
    now = {"device": "cpu", "torch": "2.9", "batch_rows": "64"}
    (event,) = kept_part_differences([now, {**now, "device": "cuda"}], now)
    assert (event.kept_with, event.now_with) == ({"device": "cuda"}, {"device": "cpu"})


def test_retries() -> None:
    """The totals are reported if several blocks failed in the same way."""
    retries = Retries([].append)
    for block in range(3):
        retries.add({f"64 rows at most, not {block}"}, source="in.parquet", first_row=100 * block, rows=100)
    retries.add({"something else"}, source="in.parquet", first_row=300, rows=100)
    (event,) = blocks_retried(retries)
    assert (event.blocks, event.rows) == (3, 300)
