"""Events: their names, levels and fields, and how they reach subscribers."""

import re
from dataclasses import FrozenInstanceError, dataclass, fields
from typing import ClassVar, get_args

import pytest
from scoreline.pipeline.events import Emitter, Event, Level

from reference import event_classes


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheSkipped(Event):
    """Rows were not looked up in the cache."""

    name: ClassVar[str] = "cache_skipped"
    level: ClassVar[Level] = "warning"
    rows: int
    reason: str = "the cache is full"


def test_an_event_is_data() -> None:
    """Frozen, without a dictionary of its own, and its fields in order."""
    event = CacheSkipped(rows=3)
    assert event.data() == {"rows": 3, "reason": "the cache is full"}
    assert not hasattr(event, "__dict__")
    with pytest.raises(FrozenInstanceError):
        event.rows = 4  # type: ignore[misc]


def test_subscribers_receive_events_in_order() -> None:
    """Each event reaches all subscribers before the next one does."""
    seen: list[tuple[str, int]] = []
    subscribers = [lambda event, who=who: seen.append((who, event.data()["rows"])) for who in "ab"]
    Emitter(subscribers)(CacheSkipped(rows=1), CacheSkipped(rows=2))
    assert seen == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


@pytest.mark.parametrize("kind", event_classes(), ids=lambda kind: kind.__name__)
def test_every_event_is_well_formed(kind: type[Event]) -> None:
    """A name in snake case, a known level, a docstring of its own, slots, and no field that a log line has already."""
    assert kind.name == re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    assert kind.level in get_args(Level)
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}("), "which dataclass writes where there is none"
    assert "__slots__" in vars(kind)
    assert not {field.name for field in fields(kind)} & {"event", "level", "name", "run_id", "ts"}


def test_names_are_unique() -> None:
    """A log line belongs to one event."""
    names = [kind.name for kind in event_classes()]
    assert len(names) == len(set(names)) > 25
