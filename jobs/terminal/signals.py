"""Signals that end a command: the first one raises an exception, a second one ends the process at once.

The process has `GRACE_S` seconds to clean up. Then a thread ends it, whatever it is doing: one long call of a model, a
read that never returns, a write to a pipe that nobody reads. Nothing is lost: a run may be killed at any moment.

The first signal cannot raise everywhere: Python swallows exceptions in a destructor, and torch aborts the process for
an exception during its import. Such a signal is deferred and raised when scoring begins, or after the next block
(`raise_again`).
"""

import _thread
import os
import signal
import sys
from collections.abc import Callable
from select import select
from time import monotonic
from types import FrameType
from typing import NoReturn

from ...pipeline.errors import InterruptedRunError

#: Seconds between the first signal and the end of the process: enough for a run to remove its temporaries and write
#: run.json, and less than supervisors wait before they kill (docker: 10).
GRACE_S = 8.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: The exit code, after `finish`.
_ended: list[int] = []
_caught: list[int] = []
#: Called with the exit code before a signal ends the process at once, for at most `LAST_WORDS_S`.
_last_words: list[Callable[[int], object]] = []
LAST_WORDS_S = 1.5
#: Held by the first thread that ends the process: the main thread and the one of `guard` see the same signal.
_ending = _thread.allocate_lock()
_hooks: list[Callable[["sys.UnraisableHookArgs"], object]] = []


def guard() -> None:
    """Start the thread that ends this process `GRACE_S` seconds after a signal. Call it once per process.

    The thread is woken by the C signal handler, whatever the main thread is doing.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _thread.start_new_thread(_end_in_time, (reader,))


def listen() -> None:
    """Install the handlers: the first signal raises InterruptedRunError in the main thread."""
    _caught.clear()
    for number in _handled():
        signal.signal(number, _interrupt)
    if sys.unraisablehook is not _report_unless_interrupted:
        _hooks.append(sys.unraisablehook)
        sys.unraisablehook = _report_unless_interrupted


def before_exit(call: Callable[[int], object]) -> None:
    """Call a function with the exit code if a signal ends the process at once, before it ends."""
    _last_words.append(call)


def forget() -> None:
    """Discard signals that came during a command, and what to call at its end, after its end."""
    _caught.clear()
    _last_words.clear()


def interruption() -> InterruptedRunError | None:
    """What the first signal raised; None if none has come."""
    return InterruptedRunError(_caught[0]) if _caught else None


def raise_again() -> None:
    """Raise InterruptedRunError if a signal has come already."""
    if (error := interruption()) is not None:
        raise error


def finish(code: int) -> None:
    """Fix the exit code of a command that has ended: later signals end the process with this code."""
    _ended.append(code)
    for number in _handled():
        signal.signal(number, lambda *_: os._exit(code))


def _handled() -> list[signal.Signals]:
    """The signals to handle: not SIGHUP if it is ignored, as in a process started by `nohup`."""
    return [one for one in _SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]


def _end_in_time(reader: int) -> None:
    first = _next_signal(reader, None)
    second = _next_signal(reader, GRACE_S)
    _exit(_ended[0] if _ended else 128 + (second or first or 0))


def _exit(code: int) -> NoReturn:
    """End the process at once, after the functions of `before_exit`, which are called once, in a thread: they may wait
    for a disk forever."""
    done = _thread.allocate_lock()
    done.acquire()

    def call() -> None:
        for one in _last_words:
            one(code)
        done.release()

    if _ending.acquire(blocking=False):
        _thread.start_new_thread(call, ())
    done.acquire(timeout=LAST_WORDS_S)
    os._exit(code)


def _next_signal(reader: int, timeout_s: float | None) -> int | None:
    """The number of the next signal that ends the process; None if none comes in time."""
    end = None if timeout_s is None else monotonic() + timeout_s
    while True:
        left = None if end is None else max(0.0, end - monotonic())
        if not select([reader], [], [], left)[0]:
            return None
        number = os.read(reader, 1)[0]
        if number in _SIGNALS:
            return number


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _handled():
        signal.signal(each, lambda again, _: _exit(128 + again))
    _caught.append(number)
    if not _is_importing(frame):
        raise InterruptedRunError(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _report_unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    if not isinstance(unraisable.exc_value, InterruptedRunError):
        _hooks[-1](unraisable)
