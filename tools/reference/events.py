"""The events of a run, from their classes."""

import re
from importlib import import_module
from pathlib import Path

from scoreline.pipeline.events import Event

from .markdown import code, table

ROOT = Path(__file__).resolve().parents[2]
IMPORT = re.compile(r"^from \.+[\w.]*events import .*\bEvent\b", re.MULTILINE)


def events_section() -> str:
    """A table of all events, by name."""
    rows = [
        (
            code(event.name),
            event.level,
            event.__doc__ or "",
            ", ".join(f"`{name}`: {kind.replace(' | ', ' or ')}" for name, kind in event.fields.items()),
        )
        for event in event_classes()
    ]
    return table(("event", "level", "meaning", "fields"), rows)


def event_classes() -> list[type[Event]]:
    """Every event of the package, by name."""
    found: set[type[Event]] = set()
    for folder in ("pipeline", "jobs"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if IMPORT.search(file.read_text(encoding="utf-8")):
                module = import_module(".".join(("scoreline", *file.relative_to(ROOT).with_suffix("").parts)))
                classes = [one for one in vars(module).values() if isinstance(one, type)]
                found |= {one for one in classes if one.__module__ == module.__name__ and issubclass(one, Event)}
    return sorted(found - {Event}, key=lambda event: event.name)
