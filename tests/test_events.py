"""Events: their names, levels and fields, and how they are passed to subscribers."""

import re
from typing import ClassVar, get_args

import pytest
from scoreline.pipeline.events import Emitter, Event, Level

from tools.reference.events import event_classes


class CacheSkipped(Event):
    """Rows were not looked up in the cache."""

    name: ClassVar[str] = "cache_skipped"
    level: ClassVar[Level] = "warning"
    rows: int
    reason: str = "the cache is full"


def test_an_event_is_a_frozen_record() -> None:
    """It is frozen, compares by value, and returns its fields in order."""
    event = CacheSkipped(rows=3)
    assert event.data() == {"rows": 3, "reason": "the cache is full"}
    assert event == CacheSkipped(rows=3) != CacheSkipped(rows=4)
    assert repr(event) == "CacheSkipped(rows=3, reason='the cache is full')"
    with pytest.raises(AttributeError, match="CacheSkipped is frozen: cannot assign to rows"):
        event.rows = 4  # type: ignore[misc]


def test_fields_are_passed_by_name() -> None:
    """Each one that has no default, and no other."""
    for values in [{}, {"rows": 3, "row": 4}]:
        with pytest.raises(TypeError, match="CacheSkipped: missing fields"):
            CacheSkipped(**values)  # type: ignore[arg-type]


def test_subscribers_receive_events_in_order() -> None:
    """Each event reaches all subscribers before the next one does."""
    seen: list[tuple[str, int]] = []
    subscribers = [lambda event, who=who: seen.append((who, event.data()["rows"])) for who in "ab"]
    Emitter(subscribers)(CacheSkipped(rows=1), CacheSkipped(rows=2))
    assert seen == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


@pytest.mark.parametrize("kind", event_classes(), ids=lambda kind: kind.__name__)
def test_every_event_is_well_formed(kind: type[Event]) -> None:
    """A name in snake case, a known level, a docstring, and no field that every log line has."""
    assert kind.name == re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    assert kind.level in get_args(Level)
    assert kind.__doc__
    assert not set(kind.fields) & {"event", "level", "name", "run_id", "ts"}


def test_names_are_unique() -> None:
    """The name of a log line identifies one event."""
    names = [kind.name for kind in event_classes()]
    assert len(names) == len(set(names)) > 25
