"""Typed events: what a run reports to its subscribers. Imports nothing else of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, dataclass_transform

Level = Literal["debug", "info", "warning", "error"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Event:
    """The base class of all events.

    An event is a class next to the code that emits it. Its docstring says when it is emitted, in one sentence; `name`
    is the class name in snake case, the name of the log line; `level` is the level of the log line. Its annotated
    attributes are its fields, passed by keyword: plain values that JSON can represent; a constant text is a field with
    a default:

        class CacheSkipped(Event):
            \"\"\"Rows were not looked up in the cache.\"\"\"

            name: ClassVar[str] = "cache_skipped"
            level: ClassVar[Level] = "warning"
            rows: int
            reason: str = "the cache is full; enlarge it with --cache-size"

    `docs/reference/events.md` lists every event; `make docs` writes it.

    Events are frozen and compare by value, as frozen dataclasses do. They are not dataclasses, since generating the
    methods of thirty classes would take a noticeable part of the start of a short run.
    """

    name: ClassVar[str]
    level: ClassVar[Level] = "info"
    #: The annotation of each field as text, by name, in order of definition.
    fields: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: kind for name, kind in cls.__annotations__.items() if name not in Event.__annotations__}
        cls.fields = cls.fields | {name: getattr(kind, "__name__", str(kind)) for name, kind in own.items()}

    def __init__(self, **values: Any) -> None:
        missing = [name for name in self.fields if name not in values and not hasattr(type(self), name)]
        unknown = values.keys() - self.fields.keys()
        if missing or unknown:
            raise TypeError(f"{type(self).__name__}: missing fields {missing}, unknown fields {sorted(unknown)}")
        vars(self).update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot assign to {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and type(self) is type(other) and self.data() == other.data()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.data().items())})"

    def data(self) -> dict[str, Any]:
        """The fields by name, in order of definition."""
        return {name: getattr(self, name) for name in self.fields}


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
