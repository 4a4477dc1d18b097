"""Markdown from values: tables and cells."""

from collections.abc import Iterable, Sequence
from html import escape


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. Bars in its cells are escaped, and line ends become spaces."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |\n" for row in lines
    )


def code(text: object) -> str:
    """Text as inline code, for a cell of a table; empty text stays empty. Renderers disagree on how to escape a bar in
    backticks, so text with one is HTML."""
    shown = str(text)
    if "|" in shown:
        return f"<code>{escape(shown).replace('|', '&#124;')}</code>"
    return f"`{shown}`" if shown else ""
