"""Names, numbers and times as the report writes them. Independent of what they belong to."""

from __future__ import annotations

from ..errors import counted, printable

#: Characters of a name, and of a message.
NAME, MESSAGE = 80, 500


def shown(text: object, most: int = NAME) -> str:
    """A name or message from outside: control characters and marks of the writing direction are escaped, and the middle
    of a long one is left out, since names of files and columns differ at their ends."""
    written = str(text)
    # cut first, so that escaping a huge text costs nothing; then again, since escapes are longer
    return _cut(printable(_cut(written, most)), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def share(part: float, whole: float) -> str:
    """A share as a percentage with three digits at most: `0`, `0.02%`, `37.4%`, `100%`."""
    if not part or not whole:
        return "0"
    percent = 100 * part / whole
    if percent < 0.01:
        return "< 0.01%"
    # never 100% for a part that is not the whole
    return f"{min(percent, 99.9):.3g}%" if part < whole else "100%"


def number(value: float) -> str:
    """A value with four digits."""
    return f"{value:.4g}"


def psi(value: float) -> str:
    """A population stability index."""
    return f"{value:.2f}"


def seconds(value: float) -> str:
    """A duration: `0.42 s`, `7.1 s`, `3 min 20 s`, `2 h 5 min`."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 99.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def moment(text: str) -> str:
    """A time in ISO 8601 as in a sentence: `2026-11-26 16:05:44 UTC`."""
    return f"{shown(text[:19]).replace('T', ' ')} UTC"


def and_more(number_left: int, noun: str) -> str:
    """What a list leaves out: `and 3 more inputs`; empty if nothing."""
    return "" if number_left <= 0 else f"and {counted(number_left, f'more {noun}')}"
