"""The metrics of a command, read back by Prometheus' own parser."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from scoreline.pipeline.reporting.metrics import MAX_COLUMNS, CommandEnd, RunMetrics, last_success
from scoreline.pipeline.running.events import NothingToDo, RunEnded, RunFailed
from scoreline.pipeline.running.findings import DriftMeasured
from scoreline.schemas.drift import WorstDrift
from scoreline.schemas.run import ColumnDrift, DriftSummary

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def end(**changes: Any) -> CommandEnd:
    """The end of a successful command."""
    given = {"job_name": "n", "exit_code": 0, "time_s": 1795791111.014, "duration_s": 2.5, "last_success_s": 7.0}
    return CommandEnd(**{**given, **changes})


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Values by name and labels, without the job's name."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            assert sample.timestamp is None
            labels = tuple((name, value) for name, value in sorted(sample.labels.items()) if name != "job_name")
            found[sample.name, labels] = sample.value
    return found


def run_ended(kind: type[RunEnded] = RunEnded) -> RunEnded:
    """The last event of a run."""
    stages = {"read": {"busy_s": 2.0, "waiting_s": 1.5, "rows": 9, "bytes": 8}}
    return kind(
        status="success", rows=10, rejected=1, out_of_bounds=0, above_threshold=0, seconds=2.0, rows_per_s=5,
        startup_s=0.5, stages=stages, verdict="",
    )  # fmt: skip


@pytest.mark.parametrize("kind", [RunEnded, RunFailed])
def test_a_run(kind: type[RunEnded]) -> None:
    """Its rows by outcome and its seconds by stage, also of one that failed."""
    metrics = RunMetrics()
    metrics(run_ended(kind))
    found = samples(metrics.text(end()))
    assert found["scoreline_rows", (("outcome", "scored"),)] == 9
    assert found["scoreline_rows", (("outcome", "rejected"),)] == 1
    assert found["scoreline_stage_waited_seconds", (("stage", "start-up"),)] == 0.5
    assert found["scoreline_stage_waited_seconds", (("stage", "read"),)] == 1.5
    assert found["scoreline_last_run_timestamp_seconds", ()] == 1795791111.014
    assert (found["scoreline_last_exit_code", ()], found["scoreline_duration_seconds", ()]) == (0, 2.5)


def test_the_last_success_is_kept_over_failures() -> None:
    """A success replaces it."""
    name = "scoreline_last_success_timestamp_seconds"
    first = RunMetrics().text(end())
    assert last_success(first) == samples(first)[name, ()] == 1795791111.014
    failed = RunMetrics().text(end(exit_code=65, time_s=1795791112.0, last_success_s=last_success(first)))
    assert samples(failed)[name, ()] == 1795791111.014
    never = RunMetrics().text(end(exit_code=65, last_success_s=None))
    assert (name, ()) not in samples(never)
    assert last_success(never) is last_success("") is None


@settings(max_examples=20)
@given(job_name=TEXT, path=TEXT)
def test_labels_are_escaped(job_name: str, path: str) -> None:
    """Any text comes back as it is."""
    metrics = RunMetrics()
    metrics(NothingToDo(partitions=1, rows=3, rejected=0, made_by="x", bundle=path, digest="sha256:0"))
    text = metrics.text(end(job_name=job_name))
    labels = [s.labels for f in text_string_to_metric_families(text) for s in f.samples if s.name.endswith("_info")]
    assert labels == [{"job_name": job_name, "bundle": path, "digest": "sha256:0"}]
    assert last_success(text) == 1795791111.014


def measured(columns: list[ColumnDrift], **changes: Any) -> DriftMeasured:
    """The drift of a run with one column at red, which has no run before."""
    fields = {"worst_psi": 0.5, "worst_column": "age", "worst_partition": "a", "red": 1, "yellow": 0, "tests": 8}
    return DriftMeasured.of(DriftSummary(**{**fields, "unprofiled_parts": 0, "columns": columns, **changes}))


def drift_of(event: DriftMeasured) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The gauges of a run's drift."""
    metrics = RunMetrics()
    metrics(event)
    return {key: value for key, value in samples(metrics.text(end())).items() if "drift" in key[0]}


def test_drift() -> None:
    """The worst against each baseline, and each column; nothing if no rows were compared."""
    columns = [
        ColumnDrift(column="age", role="feature", against="reference", psi=0.5),
        ColumnDrift(column="age", role="output", against="reference", psi=0.25),
        ColumnDrift(column="age", role="feature", against="previous", psi=0.125),
    ]
    before = {"previous_run": "x", "worst_from_previous": WorstDrift(column="age", partition=None, psi=0.125)}
    name, worst = "scoreline_drift_psi", "scoreline_drift_worst_psi"
    assert drift_of(measured(columns, **before)) == {
        (worst, (("against", "reference"),)): 0.5,
        (worst, (("against", "previous"),)): 0.125,
        (name, (("against", "reference"), ("column", "age"), ("role", "feature"))): 0.5,
        (name, (("against", "reference"), ("column", "age"), ("role", "output"))): 0.25,
        (name, (("against", "previous"), ("column", "age"), ("role", "feature"))): 0.125,
    }
    clean = measured([], worst_psi=None, worst_column=None, previous_run="x")
    assert drift_of(clean) == {(worst, (("against", one),)): 0.0 for one in ("reference", "previous")}
    assert "drift" not in RunMetrics().text(end())


@settings(max_examples=20)
@given(names=st.lists(TEXT, unique=True, max_size=5))
def test_names_of_columns(names: list[str]) -> None:
    """Any text comes back as it is; long names are cut, and no series appears twice."""
    columns = [ColumnDrift(column=one, role="feature", against="reference", psi=1.0) for one in names]
    found = drift_of(measured(columns))
    assert {dict(labels)["column"] for name, labels in found if name == "scoreline_drift_psi"} == set(names)


def test_the_series_are_bounded() -> None:
    """In number, and in the length of a name, of which the first with the largest PSI is shown."""
    many = [ColumnDrift(column=str(at), role="feature", against="reference", psi=1.0) for at in range(MAX_COLUMNS + 9)]
    assert len(drift_of(measured(many))) == MAX_COLUMNS + 1
    long = [ColumnDrift(column="x" * 999 + end, role="feature", against="reference", psi=1.0 + at) for at, end in
            enumerate("ab")]  # fmt: skip
    ((labels, psi),) = [(key[1], psi) for key, psi in drift_of(measured(long)).items() if "column" in dict(key[1])]
    assert (len(dict(labels)["column"]), psi) == (200, 1.0)
