"""Lines for people, and the same as fields in JSON."""

import json

import pytest
from scoreline.jobs.terminal import logs
from scoreline.jobs.terminal.sentences import bundle_loaded, run_started
from scoreline.pipeline.running.events import BundleLoaded, RunStarted

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
