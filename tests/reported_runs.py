"""Facts about runs that have not been executed, for tests of the report: profiles of drawn rows, and records."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel
from scoreline.pipeline.monitoring.drift import RunDrift
from scoreline.pipeline.monitoring.rejects import RejectedRow, RejectGroup
from scoreline.pipeline.reporting.run_facts import FailedInput, InputCount, RunFacts
from scoreline.schemas.history import HistoryEntry
from scoreline.schemas.profile import RunIdentity, RunProfile
from scoreline.schemas.run import BundleRecord, RunManifest, StageTotals

from monitored_rows import draw, layout_of, profile_of

DIGEST = "sha256:" + "0" * 64
#: Fields whose values the code compares with constants.
FIXED = {"kind", "level", "role", "status", "golden_source", "reference_source", "ended", "started", "options"}


@cache
def profile(shifts: tuple[float, ...] = (0.0, 3.0, 0.0), *, before: bool = True) -> RunProfile:
    """The profile of inputs `0.parquet`, `1.parquet` … with 1,000 rows each, whose ages are shifted by so many standard
    deviations. `before`: whether there was a run without shifts."""
    layout = layout_of(draw(4000, seed=99))
    previous = None
    if before:
        earlier = RunDrift(layout, 1)
        earlier.add("0.parquet", profile_of(layout, draw(2000, seed=77)))
        previous = [column.now for column in earlier.columns()]
    drift = RunDrift(layout, len(shifts), previous)
    for number, shift in enumerate(shifts):
        drift.add(f"{number}.parquet", profile_of(layout, draw(1000, seed=number, shift=shift)))
    columns = drift.columns()
    return RunProfile(
        run=RunIdentity(run_id="now", ended="2026-11-27T07:00:00+00:00", content=DIGEST),
        previous=RunIdentity(run_id="then", ended="2026-11-26T07:00:00+00:00", content=DIGEST) if before else None,
        bundle=DIGEST,
        reference_digest=DIGEST,
        reference_source="training",
        reference_rows=4000,
        partitions=len(shifts),
        sampled=drift.sampled,
        rows=drift.rows,
        unprofiled_parts=0,
        tests=drift.tests,
        worst=drift.reference.worst,
        columns=columns,
        worst_partitions=drift.worst_partitions(),
    )


def manifest(**more: Any) -> RunManifest:
    """The manifest of a run over three inputs, 10 of whose 3,000 rows were rejected."""
    given: dict[str, Any] = {
        "run_id": "now", "status": "success", "started": "2026-11-27T06:59:50+00:00",
        "ended": "2026-11-27T07:00:00+00:00", "input": "in", "output": "out", "options": {"max_rejects": "1%"},
        "versions": {"scoreline": "0.2.0", "torch": "2.13.0"}, "device": "cpu",
        "bundle": BundleRecord(
            path="bundles/b", digest=DIGEST, golden_rows=256, golden_source="model", golden_largest_difference=1e-7
        ),
        "inputs": 3, "parts": 3, "rows_in": 3000, "rows_scored": 2990, "rows_rejected": 10,
        "wall_s": 10.0, "startup_s": 1.0, "other_s": 1.0,
        "stages": {"read": StageTotals(busy_s=9.0, waiting_s=8.0, rows=3000, bytes=1)},
        "verdict": "waited for read 80% of 10.0 s, then for start-up 10%",
    }  # fmt: skip
    return RunManifest(**(given | more))


def entry(run_id: str, **more: Any) -> HistoryEntry:
    """The line of a run that has succeeded."""
    given: dict[str, Any] = {
        "run_id": run_id, "started": "2026-11-26T07:00:00+00:00", "ended": "2026-11-26T07:00:10+00:00",
        "exit_code": 0, "bundle": "bundles/b", "digest": DIGEST, "rows_in": 3000, "rows_rejected": 10,
        "rows_read": 3000, "wall_s": 10.0,
    }  # fmt: skip
    return HistoryEntry(**(given | more))


def facts(**more: Any) -> RunFacts:
    """An output whose last run found drift in one of three inputs, rejected ten rows, and could not read a fourth
    input."""
    row = RejectedRow(source="1.parquet", row=7, stage="check", column="age", reason="is 'x', not a number", value="x")
    given: dict[str, Any] = {
        "output": "scored",
        "manifest": manifest(),
        "profile": profile(),
        "earlier": (entry("then"),),
        "later": (),
        "failed": (FailedInput(source="3.parquet", error="3.parquet: cannot be read as Parquet"),),
        "most_rejects": (InputCount(source="1.parquet", rows=10),),
        "groups": (
            RejectGroup(stage="check", column="age", reason="is …, not a number", rows=10, inputs=1, examples=(row,)),
        ),
        "grouped": 10,
        "problems": ("history.jsonl cannot be read",),
    }
    return RunFacts(**(given | more))


def with_text(value: Any, replace: Callable[[str], str]) -> Any:
    """A copy of facts with every text from outside replaced, keys of mappings too."""
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, list | tuple):
        return type(value)(with_text(one, replace) for one in value)
    if isinstance(value, dict):
        return {replace(name): with_text(one, replace) for name, one in value.items()}
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields if name not in FIXED}
        return value.model_copy(update={name: with_text(one, replace) for name, one in fields.items()})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(
            value, **{name: with_text(one, replace) for name, one in fields.items() if name not in FIXED}
        )
    return value
