"""Shell completion, as the scripts of bash, zsh and fish call it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Result

Complete = Callable[..., set[str]]


@pytest.fixture
def complete(scoreline: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Complete:
    """What bash is offered for a line: each answer as its type and its value."""

    def call(line: str) -> set[str]:
        monkeypatch.setenv("_SCORELINE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        result = scoreline()
        assert (result.code, result.err) == (0, "")
        return set(result.out.split())

    return call


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("scoreline ver", {"plain,verify"}),
        ("scoreline score --de", {"plain,--device", "plain,--dedupe", "plain,--deterministic"}),
        ("scoreline score --probabilities ", {"plain,columns", "plain,list", "plain,none"}),
    ],
)
def test_names_and_choices(line: str, answers: set[str], complete: Complete) -> None:
    """Commands, flags and the values of flags."""
    assert complete(line) == answers


@pytest.mark.parametrize(
    "line",
    [
        "scoreline score --bundle bun",
        "scoreline score --job nig",
        "scoreline check --input bun",
        "scoreline verify bun",
        "scoreline pack bun",
        "scoreline evaluate --labels bun",
        "scoreline calibrate bun",
        "scoreline layers bun",
        "scoreline importance bun",
    ],
)
def test_paths_are_left_to_the_shell(line: str, complete: Complete) -> None:
    """It completes files and folders itself."""
    assert complete(line) == {f"file,{line.split()[-1]}"}


def test_bash_completes_a_line(tmp_path: Path) -> None:
    """With the script of the documentation, in a real bash."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    command = f"{Path(sys.executable).parent}/scoreline"
    script = f"""
        eval "$(_SCORELINE_COMPLETE=bash_source {command})"
        COMP_WORDS=(scoreline ver); COMP_CWORD=1
        _scoreline_completion {command}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout.strip(), done.stderr) == ("verify", "")
