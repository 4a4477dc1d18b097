"""Signals that end a command in order: the first one raises, a second one ends the process at once.

Python swallows what is raised while it runs a destructor, so a signal that falls there would be lost. It is kept, and
raised again at the next block (`raise_again`).
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


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, lambda again, _: os._exit(128 + again))
    _caught.append(number)
    raise InterruptedRunError(number)


def _tell_unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    if not isinstance(unraisable.exc_value, InterruptedRunError):
        _hooks[-1](unraisable)
