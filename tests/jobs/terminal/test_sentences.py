"""Lines for people, and the same as fields in JSON."""

import json
from typing import Any

import pytest
from scoreline.jobs.terminal import logs
from scoreline.jobs.terminal.sentences import SENTENCES, bundle_loaded, run_started
from scoreline.pipeline.running.events import BundleLoaded, RunStarted

from tools.reference.events import event_classes

STARTED = RunStarted(
    input="data/", output="out", partitions=3, split_rows=40, kept=1, to_score={"input changed": 1, "missing": 11},
    rows=4500, ignored=2, cores=2, cores_limited_by="the machine",
)  # fmt: skip
LOADED = BundleLoaded(
    bundle="bundles/wine", digest="sha256:" + "0123456789" * 6 + "abcd", device="cpu", cards=[], batch_rows=32768,
    pass_rows=16384, batch_reason="…", folded_layers=1, dropped_layers=0, compiled=False, golden_rows=150,
    golden_source="model", golden_largest_difference=1.79e-07,
)  # fmt: skip


def test_the_start_of_a_run() -> None:
    """Inputs, splits by reason, rows, and what is kept."""
    assert run_started(STARTED.data()) == (
        "3 inputs in data/: 12 splits to score (1 input changed, 11 missing), 4,500 rows; 1 split up to date;"
        " 2 files ignored; 2 cores, limited by the machine"
    )
    nothing = {**STARTED.data(), "to_score": {}, "rows": 0, "kept": 12, "ignored": 0}
    assert run_started(nothing).startswith("3 inputs in data/: nothing to score; 12 splits up to date; 2 cores")
    assert "(1 missing);" in run_started({**STARTED.data(), "rows": None, "to_score": {"missing": 1}})


def test_a_loaded_bundle() -> None:
    """Its digest, device, and golden rows."""
    assert bundle_loaded(LOADED.data()) == (
        "bundle bundles/wine (sha256:012345678901…) on cpu: 150 golden rows of the trained model reproduced within"
        " 1.8e-07; blocks of 32,768 rows"
    )
    other = {
        **LOADED.data(),
        "device": "cuda",
        "cards": ["H100", "H100"],
        "compiled": True,
        "golden_source": "expected",
    }
    assert "on cuda (H100, H100), compiled: 150 golden rows of the expected predictions" in bundle_loaded(other)


@pytest.mark.parametrize(
    ("event", "data", "sentence"),
    [
        (
            "split_published",
            {"partition": "a.csv", "split": 0, "last": True, "rows": 1, "rejected": 0},
            "a.csv: 1 row scored",
        ),
        (
            "split_published",
            {"partition": "a.csv", "split": 0, "last": False, "rows": 1, "rejected": 0},
            "a.csv, split 0: 1 row scored",
        ),
        (
            "split_published",
            {"partition": "a.csv", "split": 2, "last": True, "rows": 1200, "rejected": 150},
            "a.csv, split 2: 1,050 rows scored, 150 rejected",
        ),
        ("partition_failed", {"partition": "a.csv", "reason": "a.csv: is empty"}, "a.csv: is empty"),
        ("run_ended", {"rows": 12, "rejected": 0}, "the output is complete: 12 rows scored"),
        (
            "nothing_to_do",
            {"rows": 12, "rejected": 2},
            "the output is complete and up to date: 10 rows scored, 2 rejected",
        ),
        (
            "run_failed",
            {"rows": 0, "rejected": 0, "seconds": 1.25},
            "the run has failed after 1.2 s; the parts that it has published are kept: 0 rows scored",
        ),
        (
            "part_columns_differ",
            {"difference": "column 'x' is not in 'a.csv'", "reason": "most readers"},
            "column 'x' is not in 'a.csv': most readers",
        ),
    ],
)
def test_other_events(event: str, data: dict[str, Any], sentence: str) -> None:
    assert SENTENCES[event](data) == sentence


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_has_the_fields_of_its_event(name: str) -> None:
    """And of no other."""
    (event,) = (one for one in event_classes() if one.name == name)
    samples = {"str": "x", "float": 1.5, "bool": True, "list[str]": ["x"], "dict[str, int]": {"x": 1}}
    data = {field: samples.get(kind, 1) for field, kind in event.fields.items()}
    assert "x" in SENTENCES[name](data) or "1" in SENTENCES[name](data)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log(capsys: pytest.CaptureFixture[str], log_format: logs.LogFormat) -> None:
    """Sentences are for the text format only."""
    log = logs.EventLog(logs.configure(log_format, "info", "night"))
    try:
        log(STARTED)
        log(LOADED)
    finally:
        logs.close()
    first, second = capsys.readouterr().err.splitlines()
    if log_format == "text":
        assert "3 inputs in data/: 12 splits to score" in first
        assert "to_score=" not in first
        assert "bundle bundles/wine (sha256:012345678901…) on cpu" in second
    else:
        assert (json.loads(first)["to_score"], json.loads(second)["golden_rows"]) == (STARTED.data()["to_score"], 150)
