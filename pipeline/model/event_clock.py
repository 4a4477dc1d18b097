"""What a GPU was busy with, and when, by events on its streams. Independent of models.

The time between two events includes gaps, in which the stream waits for the host to launch the next kernel. Events
around every node of a graph would exclude them, but take as long as many kernels. So only some passes are measured node
by node, and the share of their nodes is applied to the others. Models that are not graphs are measured as a whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any

import torch

from ..graph.watch import watching
from .busy import Busy
from .in_flight import new_event

#: One of this many forward passes of a lane is measured node by node.
EVERY = 16
#: Milliseconds after which the next origin of the times is chosen, since torch has them as float32. It is used after
#: twice as long, when blocks that began before it have ended.
NEAR_MS = 10_000
Pair = tuple[torch.cuda.Event, torch.cuda.Event]


class Timeline:
    """When a device was busy, on all its streams.

    Args:
        origin: an event that has passed.
    """

    def __init__(self, origin: torch.cuda.Event) -> None:
        self._origin, self._next = (origin, 0.0), (origin, 0.0)
        self._busy, self._lock = Busy(), Lock()

    @property
    def busy_s(self) -> float:
        """The seconds in which anything was computed or copied."""
        return self._busy.seconds

    def add(self, start: torch.cuda.Event, end: torch.cuda.Event, share: float = 1.0) -> float:
        """Add the time between two events that have passed, or a share of it. Returns its seconds."""
        seconds: float = start.elapsed_time(end) / 1000 * share
        start_s = self._moment(start)
        self._busy.add(start_s, start_s + seconds)
        return seconds

    def _moment(self, event: torch.cuda.Event) -> float:
        with self._lock:
            origin, origin_s = self._origin
            elapsed_ms: float = origin.elapsed_time(event)
            moment = origin_s + elapsed_ms / 1000
            if elapsed_ms > NEAR_MS and self._next is self._origin:
                self._next = event, moment
            elif elapsed_ms > 2 * NEAR_MS:
                self._origin = self._next
            return moment


class Gaps:
    """The share of the time of forward passes in which a lane was busy with their nodes, from passes measured so."""

    def __init__(self) -> None:
        self._passes = 0
        self._nodes_s = self._passes_s = 0.0

    def is_due(self) -> bool:
        """Whether to measure the next pass node by node."""
        self._passes += 1
        return self._passes % EVERY == 1

    def add(self, nodes_s: float, pass_s: float) -> None:
        """Add a pass that was measured node by node."""
        self._nodes_s, self._passes_s = self._nodes_s + nodes_s, self._passes_s + pass_s

    @property
    def share(self) -> float:
        """The share, at most 1; 1 if no nodes were measured."""
        return min(1.0, self._nodes_s / self._passes_s) if self._passes_s > 0 else 1.0


class EventClock:
    """The seconds that a lane spends on each stage of a block (`devices.Clock`)."""

    def __init__(self, timeline: Timeline, gaps: Gaps) -> None:
        self._timeline, self._gaps = timeline, gaps
        self._measured: list[tuple[str, Pair, Sequence[Pair] | None]] = []
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> Mapping[str, float]:
        """By stage, of what has been collected."""
        return self._seconds

    @contextmanager
    def measure(self, stage: str, *, nodes: bool = False) -> Iterator[None]:
        """Measure what is launched on the current stream, without the gaps between the nodes of a graph if `nodes`."""
        start, end = new_event(), new_event()
        watched: list[Pair] | None = [] if nodes and self._gaps.is_due() else None
        start.record()
        with nullcontext() if watched is None else watching(_timed(watched)):
            yield
        end.record()
        self._measured.append((stage, (start, end), watched if nodes else ()))

    def collect(self) -> None:
        """Add up what has been measured, once it has passed."""
        for stage, (start, end), nodes in self._measured:
            if nodes:
                seconds = sum(self._timeline.add(*node) for node in nodes)
                self._gaps.add(seconds, start.elapsed_time(end) / 1000)
            else:
                seconds = self._timeline.add(start, end, self._gaps.share if nodes is None else 1.0)
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        self._measured.clear()


def _timed(nodes: list[Pair]) -> Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]:
    """A function that runs a node between two events."""

    def run(node: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        start, end = new_event(), new_event()
        start.record()
        result = node(*args, **kwargs)
        end.record()
        nodes.append((start, end))
        return result

    return run
