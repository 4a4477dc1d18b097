"""Typed events: what a run reports to its subscribers. Imports nothing else of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """The base class of all events.

    An event is a frozen dataclass next to the code that emits it. Its docstring says when it is emitted, in one
    sentence; `name` is the class name in snake case, the name of the log line; `level` is the level of the log line.
    Its fields are plain values that JSON can represent; a constant text is a field with a default:

        @dataclass(frozen=True, kw_only=True, slots=True)
        class CacheSkipped(Event):
            \"\"\"Rows were not looked up in the cache.\"\"\"

            name: ClassVar[str] = "cache_skipped"
            level: ClassVar[Level] = "warning"
            rows: int
            reason: str = "the cache is full; enlarge it with --cache-size"

    `docs/events.md` lists every event; `make docs` writes it.
    """

    name: ClassVar[str]
    level: ClassVar[Level] = "info"

    def data(self) -> dict[str, Any]:
        """The fields by name, in order of definition."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


#: Receives every event of a run, in order, in the thread that runs the job. An exception raised by it ends the run.
Subscriber = Callable[[Event], object]


class Emitter:
    """Passes events on to subscribers.

    Args:
        subscribers: receive each event, in this order.
    """

    def __init__(self, subscribers: Sequence[Subscriber] = ()) -> None:
        self._subscribers = tuple(subscribers)

    def __call__(self, *events: Event) -> None:
        """Emit some events, one after the other."""
        for event in events:
            for subscriber in self._subscribers:
                subscriber(event)
