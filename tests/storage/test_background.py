"""Calls in the background."""

from threading import Event, current_thread

import pytest
from scoreline.pipeline.storage.background import in_background


def test_a_call_runs_meanwhile() -> None:
    """In a thread that does not keep the process alive."""
    go = Event()
    future = in_background(lambda: (go.wait(10), current_thread().daemon))
    assert not future.done()
    go.set()
    assert future.result(10) == (True, True)


def test_its_error_is_raised_by_the_result() -> None:
    """With its type."""
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0).result(10)
