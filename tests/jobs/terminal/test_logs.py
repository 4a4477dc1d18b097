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


def test_names_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Line ends and codes for terminals in the names of files are escaped, once."""
    logger = logs.configure("text", "info", None)
    name = "a\nb\x1b[31m.csv"
    try:
        logger.info("split_published", partition=name, split=0, last=True, rows=1, rejected=0)
        logger.info("partition_failed", partition=name, reason=f"{name}: is empty")
        logger.info("columns_differ", partition=name)
        logs.log_internal_error("Traceback:\n  File")
    finally:
        logs.close()
    lines = capsys.readouterr().err.splitlines()
    assert all(r"a\nb\x1b[31m.csv" in line and "\x1b" not in line for line in lines[:3])
    assert r"'Traceback:\n  File'" in lines[3]
