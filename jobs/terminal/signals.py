"""Signals that end a command in order: the first one raises, a second one ends the process at once.

Not everywhere: Python swallows what is raised while it runs a destructor, and torch aborts the process over what is
raised while it is imported. A signal that falls there is kept, and raised when scoring begins, or at the next block
(`raise_again`).
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from ...pipeline.errors import InterruptedRunError

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_caught: list[int] = []
_hooks: list[Callable[["sys.UnraisableHookArgs"], object]] = []


def listen() -> None:
    """From now on, the first signal raises InterruptedRunError wherever the main thread is."""
    _caught.clear()
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    if sys.unraisablehook is not _tell_unless_interrupted:
        _hooks.append(sys.unraisablehook)
        sys.unraisablehook = _tell_unless_interrupted


def forget() -> None:
    """The command has ended; what came while it ran concerns no other."""
    _caught.clear()


def raise_again() -> None:
    """Raise InterruptedRunError for a signal that has come already."""
    if _caught:
        raise InterruptedRunError(_caught[0])


def ignore() -> None:
    """What was to be done is done, or has failed: there is nothing left to interrupt."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, lambda again, _: os._exit(128 + again))
    _caught.append(number)
    if not _is_importing(frame):
        raise InterruptedRunError(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _tell_unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    if not isinstance(unraisable.exc_value, InterruptedRunError):
        _hooks[-1](unraisable)
