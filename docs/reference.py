"""Writes the pages of docs/ that are generated from the code: `make docs`. A test checks that they are up to date."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from textwrap import fill

from scoreline.pipeline.events import Event
from scoreline.pipeline.features.expressions.functions import SIZES
from scoreline.pipeline.planning.option import Option
from scoreline.pipeline.planning.option_table import OPTIONS

DOCS = Path(__file__).resolve().parent
OPTIONS_INTRODUCTION = """\
# Options of scoreline score

Every option is a flag, an environment variable and a setting in the job file (`--job FILE.toml`). The command line
takes precedence, then the environment, then the job file. Paths in a job file are relative to it. Other commands have
some of these options, with the same names and values. The environment variable of an option that may be repeated holds
one value per line, since labels and layers may contain spaces; in the job file they are a list. The `[csv]` section of
the job file, for which there are no flags, describes CSV files (see the README).

The last column says what another value means for existing parts: they are rescored, or they are kept, although new
parts may differ from them in the last bits. If it is empty, the value does not change the content of parts.

This page is generated from `pipeline/planning/option_table.py` by `make docs`.
"""
EFFECTS = {"rescored": "rescored", "last bits": "kept", "none": ""}
EVENTS = """\
# Events

A run emits these events, in order, from the thread that runs it. Off a terminal, or with `--log-format json`, each is
one JSON object on stderr, with `ts`, `level`, `event` (the name), `run_id`, and the fields below. `--log-level` selects
the least severe level to log.

In Python, `run` takes callables that receive the events as typed objects; `event.data()` is a dict of its fields:

```python
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.running.run import run

job = ScoreJob(bundle="bundles/wine", input="data/", output="scored/", run_id="nightly")
run(job, [lambda event: print(event.name, event.data())])
```

The fields of `ScoreJob` are the options of `scoreline score` (docs/options.md). An event is a subclass of `Event`
(`pipeline/events.py`) next to the code that emits it. This page is generated from the classes by `make docs`.

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
            classes = [
                one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__
            ]
            found |= {one for one in classes if issubclass(one, Event) and one is not Event}
    return sorted(found, key=lambda event: event.name)


def events_page() -> str:
    """The text of docs/events.md."""
    rows = [("event", "level", "meaning", "fields"), ("---", "---", "---", "---")]
    for event in event_classes():
        meaning = " ".join((event.__doc__ or "").split())
        data = ", ".join(f"`{name}`: {kind.replace(' | ', ' or ')}" for name, kind in event.fields.items())
        rows.append((f"`{event.name}`", event.level, meaning, data))
    return EVENTS + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def options_page() -> str:
    """The text of docs/options.md."""
    lines = [OPTIONS_INTRODUCTION]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines.append(
            f"\n## {group}\n\n| flag | environment variable | job file | default | meaning | existing parts |\n"
        )
        lines.append("| --- | --- | --- | --- | --- | --- |\n")
        lines += [_option_row(option) for option in OPTIONS if option.group == group]
    return "".join(lines)


def _option_row(option: Option) -> str:
    placeholder = " " + (option.metavar or "|".join(option.choices)) if not option.switch else ""
    line = f"{option.name} = {'true' if option.switch else '[…]' if option.multiple else '…'}"
    default = f"`{_as_toml(option.default)}`" if option.default is not None else option.shown_default
    cells = (f"`{option.flag}{placeholder}`", f"`{option.variable}`", f"`{line}`",
             "required" if option.required else default, option.help, EFFECTS[option.effect])  # fmt: skip
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _as_toml(default: str | bool | None) -> str:
    return str(default).lower() if isinstance(default, bool) else f'"{default}"'


def expressions_page() -> str:
    """The text of docs/expressions.md: what is written by hand, then the functions."""
    written, mark, _ = (DOCS / "expressions.md").read_text(encoding="utf-8").partition("by `make docs` -->\n")
    names = " ".join(f"`{name}`" for name in sorted(SIZES) if name.isidentifier())
    return written + mark + "\n" + fill(names, 120, break_long_words=False, break_on_hyphens=False) + "\n"


PAGES = {"events.md": events_page, "expressions.md": expressions_page, "options.md": options_page}


def main() -> None:
    """Write every generated page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
