"""When the emulated GPUs execute what they are given: each copies in, computes and copies out one thing at a time, and
what is on one stream in order.

By default nothing takes any time. A test that sets `Limits.kernel_s` or `Limits.copy_s` gets a device that works on
while the host goes on; where the host waits for it, it sleeps.
"""

from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Literal

from fakecuda_devices import Limits, lock

Engine = Literal["in", "compute", "out"]


@dataclass(frozen=True, slots=True)
class Span:
    """What a device did on a stream, and from when to when, in seconds of `perf_counter`."""

    device: int
    stream: int
    engine: Engine
    start: float
    end: float


#: Everything that took time.
spans: list[Span] = []
#: By device and engine, and by stream: when what it was given has been executed.
_engines: dict[tuple[int, Engine], float] = {}
_streams: dict[int, float] = {}


def reset_time() -> None:
    """Forget everything."""
    for store in (spans, _engines, _streams):
        store.clear()


def execute(device: int, stream: int, engine: Engine) -> None:
    """Give a device something to execute."""
    seconds = Limits.kernel_s if engine == "compute" else Limits.copy_s
    if not seconds:
        return
    with lock:
        start = max(end_of(stream), _engines.get((device, engine), 0.0))
        end = _engines[device, engine] = _streams[stream] = start + seconds
        spans.append(Span(device, stream, engine, start, end))


def end_of(stream: int) -> float:
    """When what a stream has been given is executed: now, if it already is."""
    return max(perf_counter(), _streams.get(stream, 0.0))


def follow(stream: int, moment: float) -> None:
    """What a stream is given from now on is executed after this moment."""
    with lock:
        _streams[stream] = max(_streams.get(stream, 0.0), moment)


def sleep_until(moment: float) -> None:
    """The host waits."""
    if (seconds := moment - perf_counter()) > 0:
        sleep(seconds)


def union_s(device: int) -> float:
    """The seconds in which a device did anything."""
    total, until = 0.0, 0.0
    for span in sorted((one for one in spans if one.device == device), key=lambda one: one.start):
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total
