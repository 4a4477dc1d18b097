"""The limit of --max-drift, by the summary of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.errors import DriftError, UsageError
from scoreline.pipeline.events import Emitter, Event
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import PROFILE
from scoreline.pipeline.running.drift import is_within_drift, profile_run, refuse_drift, refuse_without_reference
from scoreline.pipeline.running.findings import ProfileImpossible
from scoreline.schemas.run import DriftSummary

from conftest import Example
from planned_runs import ledger, plan

OLD = min((Path(__file__).parents[1] / "bundles" / "format1").rglob("bundle.json")).parent


def summary(**changes: Any) -> DriftSummary:
    """One column at red in one file."""
    fields = {"worst_psi": 0.5, "worst_column": "age", "worst_partition": "a.parquet", "red": 1, "yellow": 0}
    return DriftSummary(**{**fields, "tests": 8, "unprofiled_parts": 0, **changes})


@pytest.mark.parametrize(
    ("found", "limit", "says"),
    [
        (None, None, None),
        (summary(), None, None),
        (summary(), 0.5, None),
        (summary(worst_psi=None), 0.1, None),
        (summary(), 0.25, "a.parquet: 'age' has drifted from the bundle's reference by a PSI of 0.50, 0.25 allowed"),
        (summary(worst_partition=None), 0.25, "all rows: 'age' has drifted"),
        (summary(unprofiled_parts=2), 0.9, "2 parts of earlier runs have no profile"),
        (None, 0.9, "cannot be checked"),
    ],
)
def test_the_limit(found: DriftSummary | None, limit: float | None, says: str | None) -> None:
    """Parts without a profile are not within any limit."""
    assert is_within_drift(found, limit) == (says is None)
    if says is None:
        refuse_drift(found, limit)
        return
    with pytest.raises(DriftError, match=says) as raised:
        refuse_drift(found, limit)
    assert raised.value.exit_code == 65


def test_a_limit_needs_a_reference(iris: Example) -> None:
    """Which bundles of earlier versions do not have."""
    limited = ScoreJob(bundle="b", input="i", output="o", run_id="x", max_drift=0.2)
    refuse_without_reference(open_bundle(iris.bundle), limited)
    refuse_without_reference(open_bundle(OLD), replace(limited, max_drift=None))
    with pytest.raises(UsageError, match="'b' was saved without one; save it again"):
        refuse_without_reference(open_bundle(OLD), limited)


def test_without_a_reference(tmp_path: Path) -> None:
    """The run says so, and writes no profile; with --no-profile it says nothing."""
    for profile, expected in ((True, [ProfileImpossible()]), (False, [])):
        events: list[Event] = []
        profile_run(
            FolderStore(tmp_path), ledger(plan([]), profile=profile), open_bundle(OLD), Emitter([events.append])
        )  # fmt: skip
        assert events == expected
    assert not (tmp_path / PROFILE).exists()
