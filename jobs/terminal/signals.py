"""Signals that end a command in order: the first one raises, a second one ends the process at once.

The process has `GRACE_S` for it. Then a thread ends it wherever it is: in one long call of a model, in a read that
never returns, in a write to a pipe that nobody empties. Nothing is lost by that: a run may be killed at any moment.

The first signal does not raise everywhere: Python swallows what is raised while it runs a destructor, and torch aborts
the process over what is raised while it is imported. A signal that falls there is kept, and raised when scoring begins,
or at the next block (`raise_again`).
"""

import _thread
import os
import signal
import sys
from collections.abc import Callable
from select import select
from time import monotonic
from types import FrameType

from ...pipeline.errors import InterruptedRunError

#: Seconds between the first signal and the end of the process: what a run needs to remove its temporaries and write
#: run.json, and less than supervisors wait before they kill (docker: 10).
GRACE_S = 8.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: The exit code, once the command has ended.
_ended: list[int] = []
_caught: list[int] = []
_hooks: list[Callable[["sys.UnraisableHookArgs"], object]] = []


def guard() -> None:
    """From now on, a signal ends this process within seconds. For a process of ours, once: a thread waits beside it for
    as long as it lives, and hears of signals from the kernel's handler, whatever the main thread is at."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _thread.start_new_thread(_end_in_time, (reader,))


def listen() -> None:
    """From now on, the first signal raises InterruptedRunError wherever the main thread is."""
    _caught.clear()
    for number in _heeded():
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


def finish(code: int) -> None:
    """What was to be done is done, or has failed: a signal that comes from now on ends the process with this code."""
    _ended.append(code)
    for number in _heeded():
        signal.signal(number, lambda *_: os._exit(code))


def _heeded() -> list[signal.Signals]:
    """All of them, but for SIGHUP where it is ignored: `nohup` has started the process."""
    return [one for one in _SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]


def _end_in_time(reader: int) -> None:
    first = _next_signal(reader, None)
    second = _next_signal(reader, GRACE_S)
    os._exit(_ended[0] if _ended else 128 + (second or first or 0))


def _next_signal(reader: int, patience_s: float | None) -> int | None:
    """The number of the next signal that is to end the process; None where none comes in time."""
    end = None if patience_s is None else monotonic() + patience_s
    while True:
        left = None if end is None else max(0.0, end - monotonic())
        if not select([reader], [], [], left)[0]:
            return None
        number = os.read(reader, 1)[0]
        if number in _SIGNALS:
            return number


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _heeded():
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
