"""Options before a command has parsed them."""

import pytest
from scoreline.jobs.terminal.arguments import requested


def test_the_last_flag_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both spellings; an empty value names nothing."""
    monkeypatch.delenv("SCORELINE_METRICS", raising=False)

    def find(*args: str) -> str | None:
        return requested(args, "--metrics", "SCORELINE_METRICS")

    assert find("score", "--metrics", "a", "--metrics=b=c") == "b=c"
    assert find("score", "--metrics") is find("--metricsx=3") is find("--metrics=") is None
    monkeypatch.setenv("SCORELINE_METRICS", "e")
    assert find("score") == "e"
    assert find("--metrics", "a") == "a"
