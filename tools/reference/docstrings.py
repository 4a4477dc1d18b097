"""Docstrings as Markdown: paragraphs, indented examples, and the sections Args, Returns, Yields and Raises."""

import re
import textwrap

SECTIONS = {"Args:": "Arguments", "Returns:": "Returns", "Yields:": "Yields", "Raises:": "Raises"}
ITEM = re.compile(r"^(?P<name>[\w`, ]+): (?P<text>.*)$", re.DOTALL)


def as_markdown(docstring: str) -> str:
    """The docstring in Markdown."""
    parts, heading = [], ""
    for block in docstring.split("\n\n"):
        first, _, rest = block.partition("\n")
        if first in SECTIONS:
            heading = SECTIONS[first]
            parts.append(f"**{heading}:**\n\n{_items(rest)}\n")
        elif block.startswith("    "):
            parts.append(f"```python\n{textwrap.dedent(block)}\n```\n\n")
        else:
            parts.append(f"{' '.join(block.split())}\n\n")
    return "".join(parts)


def _items(text: str) -> str:
    """Items by name as a list; text without names as a paragraph."""
    items: list[str] = []
    for line in textwrap.dedent(text).splitlines():
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        else:
            items.append(line)
    listed = [ITEM.match(item) for item in items]
    if not all(listed):
        return " ".join(items) + "\n"
    return "".join(f"- `{item['name']}`: {item['text']}\n" for item in listed if item)
