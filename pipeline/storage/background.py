"""One call in the background. Independent of what it does."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def in_background(function: Callable[[], Result]) -> "Future[Result]":
    """Call a function in a thread of its own, which does not keep the process alive. `result` raises its error."""
    future: Future[Result] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=call, name="background", daemon=True).start()
    return future
