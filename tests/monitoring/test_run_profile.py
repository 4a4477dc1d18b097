"""profile.json, and the run that a run is compared with."""

from pathlib import Path

import pytest
from scoreline.pipeline.monitoring.drift import RunDrift
from scoreline.pipeline.monitoring.layout import Layout
from scoreline.pipeline.monitoring.run_profile import (
    content_of,
    read_run_profile,
    run_before,
    write_run_profile,
)
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import PROFILE
from scoreline.schemas.profile import ColumnCounts, RunIdentity, RunProfile

from monitored_rows import draw, layout_of, profile_of

LAYOUT = layout_of(draw(3000))
DIGEST = "sha256:" + "0" * 64


def run_profile(
    run_id: str, content: str, seed: int, before: tuple[RunIdentity, list[ColumnCounts]] | None = None
) -> RunProfile:
    """The profile of a run over one file."""
    drift = RunDrift(LAYOUT, 1, None if before is None else before[1])
    drift.add("a.parquet", profile_of(LAYOUT, draw(500, seed)))
    return RunProfile(
        run=RunIdentity(run_id=run_id, ended="2026-11-27T00:00:00+00:00", content=content),
        previous=None if before is None else before[0],
        bundle=DIGEST, reference_digest=LAYOUT.digest, reference_source="training", reference_rows=3000,
        columns=drift.columns(), worst=drift.reference.worst, worst_partitions=drift.worst_partitions(),
        partitions=1, sampled=500, rows=500, unprofiled_parts=0, tests=drift.tests,
    )  # fmt: skip


ONE, TWO = content_of([("a", DIGEST)]), content_of([("a", DIGEST), ("b", DIGEST)])


def test_it_is_written_and_read(tmp_path: Path) -> None:
    """Whole, or not at all."""
    store = FolderStore(tmp_path)
    assert read_run_profile(store) is None
    profile = run_profile("one", ONE, 1)
    write_run_profile(store, profile)
    path = tmp_path / PROFILE
    for data in (path.read_bytes(), path.read_bytes() + b"\n"):  # as this process wrote it, and as another one did
        path.write_bytes(data)
        found = read_run_profile(store)
        assert found is not None
        assert found.model_copy(update={"checksum": None}) == profile
    path.write_bytes(path.read_bytes().replace(b'"sampled":500', b'"sampled":501'))
    assert read_run_profile(store) is None


def test_the_run_before() -> None:
    """Is the last one with other parts; a rerun of the same parts is compared with the same run again."""
    assert run_before(None, ONE, LAYOUT) is None
    first = run_profile("one", ONE, 1)
    assert run_before(first, ONE, LAYOUT) is None
    before = run_before(first, TWO, LAYOUT)
    assert before is not None
    assert before[0] == first.run
    assert before[1] == [column.now for column in first.columns]
    second = run_profile("two", TWO, 2, before)
    assert run_before(second, TWO, LAYOUT) == before
    following = run_before(second, ONE, LAYOUT)
    assert following is not None
    assert following[0].run_id == "two"


@pytest.mark.parametrize("other", [layout_of(draw(3000, seed=5))])
def test_counts_in_other_bins_are_not_compared(other: Layout) -> None:
    """As after the bundle was replaced."""
    assert run_before(run_profile("one", ONE, 1), TWO, other) is None


def test_the_content_of_a_run() -> None:
    """Depends on every part, not on their order."""
    parts = [("a", DIGEST), ("b", "sha256:" + "1" * 64)]
    assert content_of(parts) == content_of(parts[::-1])
    assert content_of(parts) != content_of(parts[:1])
    assert content_of(parts) != content_of([("a", DIGEST), ("c", "sha256:" + "1" * 64)])
