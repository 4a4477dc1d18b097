"""Findings about a run's input, output and model, as events."""

from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.running.findings import blocks_retried, kept_part_differences, output_findings
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
