"""The streams, events and allocations of the emulated GPUs, with vector clocks that find what real ones would race on.

Nothing runs asynchronously: kernels and copies are executed at once, and the clocks record what a GPU could still be
executing. `problems` collects every violation.
"""

import inspect
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from fakecuda_devices import (
    allocate,
    check_device,
    current_device,
    free,
    has_failed,
    index_of,
    lock,
    reset_devices,
    set_device,
)
from fakecuda_time import end_of, follow, reset_time, sleep_until

Clock = dict[int, int]

#: What a real GPU could get wrong, each once, with the lines that led to it.
problems: list[str] = []
#: How often the host waited for a device, by the reason.
waits: Counter[str] = Counter()
_thread = threading.local()
#: The clocks of all streams, and by stream, how much is known to have finished.
_clocks: dict[int, Clock] = {}
_finished: Clock = {}
#: The streams by device.
_of_device: dict[int, list[int]] = {}
#: Copies that may still be running: the stream, its clock, and what to do when they have finished.
_pending: list[tuple[int, int, Callable[[], None]]] = []


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
    _thread.__dict__.clear()
    reset_devices()
    reset_time()


def _join(mine: Clock, theirs: Clock) -> None:
    for stream, clock in theirs.items():
        mine[stream] = max(mine.get(stream, 0), clock)


def _covers(mine: Clock, theirs: Clock) -> bool:
    return all(mine.get(stream, 0) >= clock for stream, clock in theirs.items())


def finish(index: int, clock: Clock, reason: str = "", *, until: float = 0.0) -> None:
    """The host waits for a device, until everything before these clocks has finished, and until this moment."""
    if reason:
        waits[reason] += 1
    check_device(index)
    sleep_until(until)
    check_device(index)
    with lock:
        _join(_finished, clock)
        done = [entry for entry in _pending if _finished.get(entry[0], 0) >= entry[1]]
        _pending[:] = [entry for entry in _pending if entry not in done]
        for _, _, callback in done:
            callback()


def finish_stream(index: int, reason: str) -> None:
    """The host waits for the current stream of a device."""
    stream = current_stream(index)
    finish(index, dict(stream.clock), reason, until=end_of(stream.id))


def finish_all(device: Any = None) -> None:
    """`torch.cuda.synchronize`."""
    index = index_of(device)
    with lock:
        clock = {stream: _clocks[stream][stream] for stream in _of_device.get(index, ())}
    finish(index, clock, "synchronize", until=max(map(end_of, clock), default=0.0))


def when_finished(stream: "Stream", callback: Callable[[], None]) -> None:
    """Call back once the host has waited for what this stream has been given so far."""
    _pending.append((stream.id, stream.tick(), callback))


class Stream:
    """`torch.cuda.Stream`."""

    def __init__(self, device: Any = None, **_: Any) -> None:
        self.index = index_of(device)
        with lock:
            self.id = len(_clocks)
            self.clock: Clock = {self.id: 0}
            _clocks[self.id] = self.clock
            _of_device.setdefault(self.index, []).append(self.id)
        self.device = torch.device("cuda", self.index)

    def tick(self) -> int:
        """Count one more operation."""
        self.clock[self.id] += 1
        return self.clock[self.id]

    def wait_event(self, event: "Event") -> None:
        with lock:
            _join(self.clock, event.clock)
        follow(self.id, event.at)

    def wait_stream(self, other: "Stream") -> None:
        with lock:
            _join(self.clock, other.clock)
        follow(self.id, end_of(other.id))

    def record_event(self, event: "Event | None" = None) -> "Event":
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        finish(self.index, dict(self.clock), "stream", until=end_of(self.id))


class Event:
    """`torch.cuda.Event`. It belongs to the device of the stream that it was first recorded on."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, **_: Any) -> None:
        self.timing, self.at = enable_timing, 0.0
        self.index: int | None = None
        self.clock: Clock = {}

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or current_stream()
        if self.index not in (None, stream.index):
            raise RuntimeError(f"Event device {self.index} does not match recording stream's device {stream.index}.")
        check_device(stream.index)
        with lock:
            stream.tick()
            self.index, self.clock, self.at = stream.index, dict(stream.clock), end_of(stream.id)

    def wait(self, stream: Stream | None = None) -> None:
        (stream or current_stream()).wait_event(self)

    def synchronize(self) -> None:
        finish(self.index or 0, self.clock, "event", until=self.at)

    def query(self) -> bool:
        check_device(self.index or 0)
        return _covers(_finished, self.clock)

    def elapsed_time(self, other: "Event") -> float:
        if not (self.timing and other.timing):
            raise RuntimeError("elapsed_time of events without timing")
        if self.index != other.index:
            raise RuntimeError("elapsed_time of events of two devices")
        if not (self.query() and other.query()):
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return (other.at - self.at) * 1000


#: The default streams by device.
_default: dict[int, Stream] = {}


def current_stream(device: Any = None) -> Stream:
    """`torch.cuda.current_stream`."""
    index = index_of(device)
    found: Stream | None = getattr(_thread, "streams", {}).get(index)
    if found is None:
        with lock:
            found = _default[index] = _default.get(index) or Stream(index)
    return found


class StreamContext:
    """`torch.cuda.stream`: also makes the stream's device the current one."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        self._before = current_device(), current_stream(self._stream.index)
        set_device(self._stream.index)
        self._set(self._stream)

    def __exit__(self, *_: object) -> None:
        set_device(self._before[0])
        self._set(self._before[1])

    def _set(self, stream: Stream) -> None:
        _thread.streams = getattr(_thread, "streams", {}) | {stream.index: stream}


class Memory:
    """An allocation on a device: the stream that owns it, and when each stream last wrote and used it."""

    def __init__(self, index: int, num_bytes: int) -> None:
        self.num_bytes = 0  # until it is allocated
        allocate(index, num_bytes)
        self.index, self.num_bytes = index, num_bytes
        self._owner, self._lines = current_stream(index), lines()
        self.recorded: set[int] = set()
        self._writes: Clock = {}
        self._uses: Clock = {}
        self.write()

    def write(self) -> None:
        """The current stream writes to it."""
        stream = current_stream(self.index)
        self._writes[stream.id] = self._uses[stream.id] = stream.tick()

    def use(self) -> None:
        """The current stream reads it."""
        check_device(self.index)
        stream = current_stream(self.index)
        for other, clock in self._writes.items():
            if other != stream.id and max(stream.clock.get(other, 0), _finished.get(other, 0)) < clock:
                report(f"stream {stream.id} reads what stream {other} may not have written yet")
        self._uses[stream.id] = stream.tick()

    def __del__(self) -> None:
        if not self.num_bytes:
            return
        free(self.index, self.num_bytes)
        if has_failed(self.index):
            if self.recorded:
                problems.append(
                    f"memory ({shown(self._lines)}) with recorded streams freed after the device failed: an abort"
                )
            return
        for stream, clock in self._uses.items():
            if stream in (self._owner.id, *self.recorded):
                continue
            if max(_finished.get(stream, 0), self._owner.clock.get(stream, 0)) < clock:
                problems.append(
                    f"memory of stream {self._owner.id} ({shown(self._lines)}) freed while stream {stream} uses it"
                )
