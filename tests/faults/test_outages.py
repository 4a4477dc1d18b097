"""A service that cannot be used for a while, or for good."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forked_runs import ForkedRuns
from request_bench import SLOW_DOWN, visible

from conftest import Example
from object_storage import RESET, MotoStorage, Request

OVERLOADED_S = 30
Score = Callable[..., tuple[int, str]]


@pytest.fixture
def score_there(
    remote_storage: MotoStorage, runner: Callable[[int], ForkedRuns], iris: Example, tmp_path: Path
) -> Score:
    """Score two splits into a prefix, with the settings of `remote_runs`. Returns the exit code and the output."""
    iris.frame.to_parquet(tmp_path / "a.parquet", index=False, row_group_size=75)
    data, bundle = remote_storage.upload(tmp_path, "outages/"), remote_storage.upload(iris.bundle, "models/iris/")
    words = ["score", "--bundle", bundle, "--input", data, "--split-rows", "75", "--log-format", "json"]

    def call(prefix: str, **settings: Any) -> tuple[int, str]:
        commands = [[*words, "--output", f"{remote_storage.uri}/{prefix}"]]
        return runner(0).run({"commands": commands, "forked": True, "flows": 2, **settings})

    return call


def from_first(part: str, answer: object, seconds: float = float("inf")) -> Callable[[Request], object]:
    """A hook that gives an answer to every request from the first for a part on, for some time."""
    begun: list[float] = []

    def hook(request: Request) -> object:
        if not begun and request.method == "PUT" and request.path.endswith(part):
            begun.append(time.monotonic())
        return answer if begun and time.monotonic() < begun[0] + seconds else None

    return hook


@pytest.mark.long
def test_an_overloaded_service(score_there: Score, remote_storage: MotoStorage) -> None:
    """It answers SlowDown for half a minute, to the renewals of the lock too: the run ends as if nothing was."""
    assert score_there("calm/")[0] == 0
    with remote_storage.answering(from_first("a-00000.parquet", SLOW_DOWN, OVERLOADED_S)):
        start = time.monotonic()
        code, output = score_there("overloaded/")
    assert code == 0, output[-3000:]
    assert time.monotonic() - start > OVERLOADED_S
    assert visible(remote_storage, "overloaded/") == visible(remote_storage, "calm/")


@pytest.mark.parametrize("answer", [pytest.param(SLOW_DOWN, marks=pytest.mark.long), RESET], ids=["overloaded", "gone"])
def test_a_service_that_is_gone(score_there: Score, remote_storage: MotoStorage, answer: object) -> None:
    """The run ends once its requests have been tried for as long as set, with one line, and the next one completes
    it."""
    prefix = f"gone-{answer == RESET}/"
    with remote_storage.answering(from_first("a-00000.parquet", answer)):
        code, output = score_there(prefix, retry_s=0.5)
    assert code == 74, output[-3000:]
    assert "Traceback" not in output
    (message,) = re.findall(r'"command_failed".*"message": "(.*?)"', output)
    assert "cannot be written" in message
    assert "_SUCCESS" not in visible(remote_storage, prefix)
    code, output = score_there(prefix)
    assert code == 0, output[-3000:]
