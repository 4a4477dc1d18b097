"""The streams, events and allocations of the emulated GPU, with vector clocks that find what a real GPU would race on.

Nothing runs asynchronously: kernels and copies are executed at once, and the clocks record what a GPU could still be
executing. `problems` collects every violation.
"""

import inspect
import threading
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch

CUDA = torch.device("cuda", 0)
Clock = dict[int, int]

#: What a real GPU could get wrong, each once, with the lines that led to it.
problems: list[str] = []
#: How often the host waited for the device, by the reason.
waits: Counter[str] = Counter()
lock = threading.RLock()
_thread = threading.local()
#: The clocks of all streams, and by stream, how much is known to have finished.
_clocks: dict[int, Clock] = {}
_finished: Clock = {}
#: Copies that may still be running: the stream, its clock, and what to do when they have finished.
_pending: list[tuple[int, int, Callable[[], None]]] = []
#: The error that has invalidated the context, if any.
_failure: list[str] = []


def lines() -> tuple[tuple[str, int], ...]:
    """The lines of the product that are being executed, innermost first, five at most: file and number."""
    found: list[tuple[str, int]] = []
    frame = inspect.currentframe()
    while frame is not None and len(found) < 5:
        if "/pipeline/" in frame.f_code.co_filename:
            found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def shown(found: tuple[tuple[str, int], ...]) -> str:
    """The same as text."""
    return " < ".join(f"{file.rsplit('/', 1)[1]}:{number}" for file, number in found)


def report(problem: str) -> None:
    """Record a problem."""
    line = f"{problem} at {shown(lines())}"
    if line not in problems:
        problems.append(line)


def reset() -> None:
    """Forget everything, as in a fresh process."""
    problems.clear()
    waits.clear()
    _pending.clear()
    _failure.clear()


def fail_device(message: str) -> None:
    """Invalidate the context, as a device-side assert does: from now on every call raises."""
    _failure.append(message)


def has_failed() -> bool:
    """Whether the context is invalid."""
    return bool(_failure)


def check_device() -> None:
    """Raise RuntimeError if the context is invalid."""
    if _failure:
        raise RuntimeError(f"CUDA error: {_failure[0]}")


def _join(mine: Clock, theirs: Clock) -> None:
    for stream, clock in theirs.items():
        mine[stream] = max(mine.get(stream, 0), clock)


def _covers(mine: Clock, theirs: Clock) -> bool:
    return all(mine.get(stream, 0) >= clock for stream, clock in theirs.items())


def finish(clock: Clock, reason: str = "") -> None:
    """The host waits until everything before these clocks has finished."""
    if reason:
        waits[reason] += 1
    check_device()
    with lock:
        _join(_finished, clock)
        done = [entry for entry in _pending if _finished.get(entry[0], 0) >= entry[1]]
        _pending[:] = [entry for entry in _pending if entry not in done]
        for _, _, callback in done:
            callback()


def finish_all(*_: Any) -> None:
    """`torch.cuda.synchronize`."""
    with lock:
        finish({stream: clock[stream] for stream, clock in _clocks.items()}, "synchronize")


def when_finished(stream: "Stream", callback: Callable[[], None]) -> None:
    """Call back once the host has waited for what this stream has been given so far."""
    _pending.append((stream.id, stream.tick(), callback))


class Stream:
    """`torch.cuda.Stream`."""

    def __init__(self, device: Any = None, **_: Any) -> None:
        with lock:
            self.id = len(_clocks)
            self.clock: Clock = {self.id: 0}
            _clocks[self.id] = self.clock
        self.device = CUDA

    def tick(self) -> int:
        """Count one more operation."""
        self.clock[self.id] += 1
        return self.clock[self.id]

    def wait_event(self, event: "Event") -> None:
        with lock:
            _join(self.clock, event.clock)

    def wait_stream(self, other: "Stream") -> None:
        with lock:
            _join(self.clock, other.clock)

    def record_event(self, event: "Event | None" = None) -> "Event":
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        finish(dict(self.clock), "stream")


class Event:
    """`torch.cuda.Event`."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, **_: Any) -> None:
        self.timing, self.at = enable_timing, 0.0
        self.clock: Clock = {}

    def record(self, stream: Stream | None = None) -> None:
        check_device()
        with lock:
            stream = stream or current_stream()
            stream.tick()
            self.clock, self.at = dict(stream.clock), perf_counter()

    def wait(self, stream: Stream | None = None) -> None:
        (stream or current_stream()).wait_event(self)

    def synchronize(self) -> None:
        finish(self.clock, "event")

    def query(self) -> bool:
        check_device()
        return _covers(_finished, self.clock)

    def elapsed_time(self, other: "Event") -> float:
        if not (self.timing and other.timing):
            raise RuntimeError("elapsed_time of events without timing")
        if not (self.query() and other.query()):
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return max(0.0, (other.at - self.at) * 1000)


_default = Stream()


def current_stream(device: Any = None) -> Stream:
    """`torch.cuda.current_stream`."""
    return getattr(_thread, "stream", _default)


class StreamContext:
    """`torch.cuda.stream`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        self._before = current_stream()
        _thread.stream = self._stream

    def __exit__(self, *_: object) -> None:
        _thread.stream = self._before


class Memory:
    """An allocation on the device: the stream that owns it, and when each stream last wrote and used it."""

    def __init__(self) -> None:
        self._owner, self._lines = current_stream(), lines()
        self.recorded: set[int] = set()
        self._writes: Clock = {}
        self._uses: Clock = {}
        self.write()

    def write(self) -> None:
        """The current stream writes to it."""
        stream = current_stream()
        self._writes[stream.id] = self._uses[stream.id] = stream.tick()

    def use(self) -> None:
        """The current stream reads it."""
        check_device()
        stream = current_stream()
        for other, clock in self._writes.items():
            if other != stream.id and max(stream.clock.get(other, 0), _finished.get(other, 0)) < clock:
                report(f"stream {stream.id} reads what stream {other} may not have written yet")
        self._uses[stream.id] = stream.tick()

    def __del__(self) -> None:
        if _failure and self.recorded:
            problems.append(
                f"memory ({shown(self._lines)}) with recorded streams freed after the device failed: an abort"
            )
        if _failure:
            return
        for stream, clock in self._uses.items():
            if stream in (self._owner.id, *self.recorded):
                continue
            if max(_finished.get(stream, 0), self._owner.clock.get(stream, 0)) < clock:
                problems.append(
                    f"memory of stream {self._owner.id} ({shown(self._lines)}) freed while stream {stream} uses it"
                )
