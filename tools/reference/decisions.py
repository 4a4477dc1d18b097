"""The list of decisions, from their headings."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "decisions"


def decisions_section() -> str:
    """A line for each decision, with its number and title."""
    lines = []
    for file in sorted(FOLDER.glob("[0-9]*.md")):
        heading, _, _ = file.read_text(encoding="utf-8").partition("\n")
        number, title = heading.removeprefix("# ").split(" ", 1)
        lines.append(f"- [{number}]({file.name}) {title}\n")
    return "".join(lines)
