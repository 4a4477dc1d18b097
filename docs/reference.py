"""Writes the pages of docs/ that are generated from the code: `make docs`. A test keeps them equal to it."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

from scoreline.pipeline.events import Event

DOCS = Path(__file__).resolve().parent
EVENTS = """\
# Events

A run emits these events, in order, from the thread that runs it. Off a terminal, or with `--log-format json`, each is
one JSON object on stderr, with `ts`, `level`, `event` (the name), `run_id`, and the fields below. `--log-level` selects
the least severe level to log.

In Python, `run(job, subscribers)` takes callables that receive the events as typed objects. An event is a subclass of
`Event` (`pipeline/events.py`) next to the code that emits it. This page is generated from the classes by `make docs`.

"""


def event_classes() -> list[type[Event]]:
    """Every event of the package, by name."""
    found: set[type[Event]] = set()
    root = DOCS.parent
    for folder in ("pipeline", "jobs"):
        for file in sorted((root / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if not re.search(r"^from \.+[\w.]*events import .*\bEvent\b", text, re.MULTILINE):
                continue
            module = import_module(".".join(("scoreline", *file.relative_to(root).with_suffix("").parts)))
            kinds = [
                one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__
            ]
            found |= {kind for kind in kinds if issubclass(kind, Event) and kind is not Event}
    return sorted(found, key=lambda kind: kind.name)


def events_page() -> str:
    """The text of docs/events.md."""
    rows = [("event", "level", "emitted when", "fields"), ("---", "---", "---", "---")]
    for kind in event_classes():
        meaning = " ".join((kind.__doc__ or "").split())
        data = ", ".join(f"`{field.name}`: {str(field.type).replace(' | ', ' or ')}" for field in fields(kind))
        rows.append((f"`{kind.name}`", kind.level, meaning, data))
    return EVENTS + "".join(f"| {' | '.join(row)} |\n" for row in rows)


PAGES = {"events.md": events_page}


def main() -> None:
    """Write every generated page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
