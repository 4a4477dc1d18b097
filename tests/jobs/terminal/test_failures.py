"""How the failure of a command is reported: every line is JSON where JSON was chosen, with the usual exit codes."""

import errno
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest
from scoreline.jobs import cli
from scoreline.jobs.terminal import failures, logs
from scoreline.pipeline.planning.option_table import find_option

FAILURES = {
    "no command": ([], 2),
    "unknown command": (["frob"], 2),
    "missing option": (["score"], 2),
    "invalid value": (["score", "--bundle", "b", "--top-k", "x"], 2),
    "unknown option": (["evaluate", "--frob"], 2),
    "missing argument": (["verify"], 2),
    "missing job file": (["score", "--job", "missing.toml"], 78),
    "job file with an unknown option": (["check", "--job", "wrong.toml"], 78),
    "missing bundle": (["layers", "missing"], 78),
    "not UTF-8": (["verify", "\udcff"], 2),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a job file that has an unknown option."""
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text("frob = 1\n", encoding="utf-8")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A command with a bug."""

    @click.command()
    def command() -> None:
        raise KeyError("bug")

    monkeypatch.setattr(cli.cli, "get_command", lambda _context, _name: command)
    return "layers"


def _only_event(err: str) -> dict[str, Any]:
    (line,) = err.splitlines()
    return json.loads(line)


@pytest.mark.parametrize("name", FAILURES)
def test_json_chosen_in_the_environment(
    name: str, scoreline: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command_failed line, whatever the command."""
    args, code = FAILURES[name]
    monkeypatch.setenv("SCORELINE_LOG_FORMAT", "json")
    result = scoreline(*args)
    event = _only_event(result.err)
    assert result.code == event["exit_code"] == code
    assert (event["event"], event["level"]) == ("command_failed", "error")
    assert "\n" not in event["message"]
    assert event["message"]


@pytest.mark.parametrize("flag", [["--log-format", "json"], ["--log-format=json"]])
def test_json_chosen_by_the_flag(flag: list[str], scoreline: Callable[..., Any]) -> None:
    """The message is the one that is shown as text."""
    result = scoreline("score", *flag)
    assert _only_event(result.err)["message"] == "Missing option '--bundle'."
    assert result.code == 2


def test_the_flag_takes_precedence(scoreline: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every option; the last flag counts."""
    monkeypatch.setenv("SCORELINE_LOG_FORMAT", "json")
    assert "Usage: scoreline score" in scoreline("score", "--log-format", "text").err
    assert "Usage: scoreline score" in scoreline("score", "--log-format=json", "--log-format=text").err


@pytest.mark.parametrize("value", [None, "auto", "text", "xml"])
def test_otherwise_text(value: str | None, scoreline: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also off a terminal."""
    if value is not None:
        monkeypatch.setenv("SCORELINE_LOG_FORMAT", value)
    assert scoreline("verify").err.startswith("Usage: scoreline verify")
    assert scoreline("layers", "missing").err.startswith("scoreline: bundle 'missing' does not exist")


def test_an_internal_error_as_json(broken: str, scoreline: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its traceback is in a line of its own."""
    monkeypatch.setenv("SCORELINE_LOG_FORMAT", "json")
    result = scoreline(broken)
    internal, failed = (json.loads(line) for line in result.err.splitlines())
    assert internal["event"] == "internal_error"
    assert "KeyError: 'bug'" in internal["traceback"]
    assert (failed["event"], failed["exit_code"], result.code) == ("command_failed", 1, 1)


def test_an_internal_error_as_text(broken: str, scoreline: Callable[..., Any]) -> None:
    """The traceback, then the message."""
    result = scoreline(broken)
    assert result.err.startswith("Traceback")
    assert result.err.splitlines()[-1].startswith("scoreline: internal error")


LACKING: dict[str, tuple[BaseException, str]] = {
    "memory": (
        MemoryError("Unable to allocate 3 GiB"),
        "has not enough memory (Unable to allocate 3 GiB)",
    ),
    "Arrow's memory": (
        pa.ArrowMemoryError("malloc of size 64 failed"),
        "has not enough memory (malloc",
    ),
    "a library": (ImportError("libx.so: failed to map segment from shared object"), "allow it more, or pass --memory"),
    "the kernel": (OSError(errno.ENOMEM, "Cannot allocate memory"), "allow it more, or pass --memory"),
    "threads": (RuntimeError("can't start new thread"), "no thread or process can be started; raise the limit"),
    "processes": (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no thread or process can be started"),
    "a temporary folder": (
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']"),
        "no temporary folder can be written to; set TMPDIR to one that can",
    ),
}


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("within", [False, True])
def test_what_the_machine_lacks(
    name: str, within: bool, scoreline: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with what to do, also where a library raises an error of its own because of it."""
    error, says = LACKING[name]

    def lacks(**_options: Any) -> None:
        try:
            raise error
        except type(error):
            if within:
                raise SystemError("returned a result with an exception set")  # noqa: B904 - as libraries do
            raise

    command = click.Command("lacking", callback=lacks)
    monkeypatch.setattr(cli.cli, "get_command", lambda _context, _name: command)
    result = scoreline("layers")
    assert result.code == 71
    assert result.err.startswith("scoreline: ")
    assert says in result.err
    assert len(result.err.splitlines()) == 1


def test_a_failure_leaves_no_log_behind(scoreline: Callable[..., Any]) -> None:
    """The next command in the same process sets up its own."""
    scoreline("score", "--log-format", "json")
    assert not logs.is_configured()
    assert scoreline("verify").err.startswith("Usage")


def test_python_warnings_are_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a model, for example."""
    logs.configure("json", "info", "nightly")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning("careful", UserWarning, "model.py", 3)
    finally:
        logs.close()
    line = _only_event(capsys.readouterr().err)
    assert "careful" in line["event"]
    assert (line["level"], line["run_id"]) == ("warning", "nightly")


def test_the_names_are_those_of_the_option() -> None:
    """The option table is not imported before a command."""
    option = find_option("log_format")
    assert (option.flag, option.variable) == (failures.FLAG, failures.VARIABLE)
