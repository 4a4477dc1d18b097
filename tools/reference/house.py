"""The drawing of the house, docs/assets/house.svg, from the table of rooms in docs/explanation/architecture.md."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURE = DOCS / "assets" / "house.svg"
ROW = re.compile(r"^\| (ground|\d+) \| (?:`(\w+)`|[^|]+) \|", re.MULTILINE)
WIDTH, LEFT, FLOOR_HEIGHT = 480, 74, 50


def floors() -> list[list[str]]:
    """The rooms of each floor, from the lowest; the ground floor, which has modules instead of rooms, is left out."""
    table = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    found: dict[int, list[str]] = {}
    for floor, room in ROW.findall(table):
        if room:
            found.setdefault(int(floor), []).append(room)
    return [found[floor] for floor in sorted(found)]


def house_picture() -> str:
    """The drawing as SVG: the commands under the roof, then the floors from the highest to the ground."""
    upper = [("", ["jobs: the commands"])]
    numbered = [(f"floor {number}", rooms) for number, rooms in reversed(list(enumerate(floors(), 1)))]
    ground = [("ground", ["errors, records, options, events"])]
    rows = [*upper, *numbered, *ground]
    height = 66 + len(rows) * FLOOR_HEIGHT + 40
    parts = [f'  <path d="M{LEFT - 14} 62L{LEFT + 200} 12L{WIDTH - 6} 62z" fill="#0f766e"/>']
    for number, (name, rooms) in enumerate(rows):
        parts += _floor(66 + number * FLOOR_HEIGHT, name, rooms)
    parts.append(_text(WIDTH / 2, height - 14, "beside it: schemas, what is written on disk", "#64748b", size=12))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif"'
        f' font-size="14" role="img" aria-label="The rooms of the code, by floor">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _floor(top: int, name: str, rooms: list[str]) -> list[str]:
    parts = [
        f'  <rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 20}" height="{FLOOR_HEIGHT - 4}" fill="#64748b"'
        ' fill-opacity="0.12"/>',
        f'  <text x="8" y="{top + 28}" fill="#64748b" font-size="12">{name}</text>',
    ]
    width = (WIDTH - LEFT - 28) / len(rooms)
    for number, room in enumerate(rooms):
        x = LEFT + 4 + number * width
        parts.append(
            f'  <rect x="{x + 3:g}" y="{top + 6}" width="{width - 6:g}" height="{FLOOR_HEIGHT - 16}" rx="6"'
            ' fill="#0f766e"/>'
        )
        parts.append(_text(x + width / 2, top + 28, room, "#ffffff"))
    return parts


def _text(x: float, y: float, text: str, color: str, size: int = 14) -> str:
    return f'  <text x="{x:g}" y="{y:g}" text-anchor="middle" fill="{color}" font-size="{size}">{text}</text>'
