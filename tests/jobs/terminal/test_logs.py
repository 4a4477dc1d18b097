"""The log of a command that fails."""

import json

import pytest
from scoreline.jobs.terminal import logs


def test_a_failure_has_the_run_id(capsys: pytest.CaptureFixture[str]) -> None:
    """As every line of a run."""
    logs.configure("json", "info", "nightly")
    try:
        logs.log_failure("no input", 66)
    finally:
        logs.close()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["run_id"], line["exit_code"]) == ("command_failed", "nightly", 66)
