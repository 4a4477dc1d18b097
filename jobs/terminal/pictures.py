"""Charts as SVG files. They show the same numbers as the tables that commands print."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...pipeline.errors import StorageError
from ...pipeline.storage.plain_files import kind_of, require_plain
from .tables import shortened

if TYPE_CHECKING:
    from ...pipeline.evaluation.importance import FeatureImportance
    from ...pipeline.evaluation.reliability import Reliability
    from ...pipeline.monitoring.changes import NumberChange

_RELIABILITY = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ panels | length * 330 + 20 }} 410" font-family="sans-serif" \
font-size="12">
<title>{{ title }}</title>
<rect width="100%" height="100%" fill="#fff"/>
{% for panel in panels %}
<g transform="translate({{ loop.index0 * 330 + 55 }} 40)">
<text x="125" y="-18" text-anchor="middle" font-size="14">{{ panel.name }}: calibration error {{ panel.error }}</text>
{% for tick in (0, 0.25, 0.5, 0.75, 1) %}
<line x1="{{ 250 * tick }}" y1="0" x2="{{ 250 * tick }}" y2="250" stroke="#eee"/>
<line x1="0" y1="{{ 250 - 250 * tick }}" x2="250" y2="{{ 250 - 250 * tick }}" stroke="#eee"/>
<text x="{{ 250 * tick }}" y="266" text-anchor="middle" fill="#555">{{ tick }}</text>
<text x="-6" y="{{ 254 - 250 * tick }}" text-anchor="end" fill="#555">{{ tick }}</text>
{% endfor %}
<line x1="0" y1="250" x2="250" y2="0" stroke="#999" stroke-dasharray="4 3"/>
{% for bar in panel.bars %}<rect x="{{ bar.x }}" y="{{ 340 - bar.height }}" width="22" height="{{ bar.height }}" \
fill="#bcd"/>
{% endfor %}
<polyline fill="none" stroke="#1f5fa8" stroke-width="2" points="{{ panel.line }}"/>
{% for dot in panel.dots %}<circle cx="{{ dot[0] }}" cy="{{ dot[1] }}" r="3.5" fill="#1f5fa8"/>
{% endfor %}
<text x="125" y="284" text-anchor="middle">predicted probability</text>
<text x="-40" y="125" text-anchor="middle" transform="rotate(-90 -40 125)">observed frequency</text>
</g>
{% endfor %}
<text x="55" y="402" fill="#555">bars: number of rows per bin</text>
</svg>
"""

_IMPORTANCE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {{ bars | length * 24 + 84 }}" font-family="sans-serif" \
font-size="12">
<title>{{ title }}</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="20" y="26" font-size="14">{{ title }}</text>
{% for bar in bars %}
<g transform="translate(210 {{ loop.index0 * 24 + 44 }})">
<text x="-8" y="13" text-anchor="end">{{ bar.name }}</text>
<rect width="{{ bar.width }}" height="17" fill="#bcd"/>
<line x1="{{ bar.mean }}" y1="-2" x2="{{ bar.mean }}" y2="19" stroke="{{ bar.colour }}" stroke-width="3"/>
<text x="{{ bar.width + 8 }}" y="13" fill="#555">{{ bar.label }}</text>
</g>
{% endfor %}
<text x="20" y="{{ bars | length * 24 + 68 }}" fill="#555">bar: mean absolute attribution; stroke: \
mean attribution, blue if positive, red if negative</text>
</svg>
"""

_CHANGES = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {{ panels | length * 150 + 50 }}" font-family="sans-serif" \
font-size="12">
<title>{{ title }}</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="20" y="26" font-size="14">{{ title }}</text>
{% for panel in panels %}
<g transform="translate(20 {{ loop.index0 * 150 + 50 }})">
<text x="0" y="12">{{ panel.name }}</text>
<text x="600" y="12" text-anchor="end" fill="#555">mean {{ panel.mean }}, unchanged {{ panel.unchanged }}</text>
{% for bar in panel.bars %}<rect x="{{ bar.x }}" y="{{ 110 - bar.height }}" width="8.4" height="{{ bar.height }}" \
fill="{{ bar.colour }}"/>
{% endfor %}
<line x1="0" y1="110" x2="600" y2="110" stroke="#999"/>
<line x1="300" y1="20" x2="300" y2="114" stroke="#999" stroke-dasharray="4 3"/>
<text x="0" y="126" fill="#555">−{{ panel.reach }}</text>
<text x="300" y="126" text-anchor="middle" fill="#555">0</text>
<text x="600" y="126" text-anchor="end" fill="#555">+{{ panel.reach }}</text>
</g>
{% endfor %}
</svg>
"""
#: Histograms in one picture.
MOST_PANELS = 8


def reliability_svg(title: str, panels: "list[tuple[str, Reliability]]") -> str:
    """A reliability diagram per panel: observed frequency over predicted probability, with the diagonal."""
    shown = []
    for name, found in panels:
        filled = [at for at in range(len(found.counts)) if found.counts[at]]
        dots = [(round(250 * found.predicted[at], 1), round(250 - 250 * found.observed[at], 1)) for at in filled]
        largest = max(1, int(found.counts.max()))
        width = 250 / len(found.counts)
        shown.append(
            {
                "name": name,
                "error": f"{found.error:.3f}",
                "dots": dots,
                "line": " ".join(f"{x},{y}" for x, y in dots),
                "bars": [
                    {"x": round(at * width + 1.5, 1), "height": round(45 * float(found.counts[at]) / largest, 1)}
                    for at in range(len(found.counts))
                ],
            }
        )
    return _drawn(_RELIABILITY, title=title, panels=shown)


def importance_svg(title: str, features: "Sequence[FeatureImportance]") -> str:
    """A bar for each feature, as long as the mean of its absolute attributions."""
    longest = max((one.mean_absolute for one in features), default=0.0) or 1.0
    bars = [
        {
            "name": shortened(one.feature, 28),
            "width": round(340 * one.mean_absolute / longest, 1),
            "mean": round(340 * abs(one.mean) / longest, 1),
            "colour": "#1f5fa8" if one.mean >= 0 else "#b3362b",
            "label": f"{one.mean_absolute:.3g}",
        }
        for one in features
    ]
    return _drawn(_IMPORTANCE, title=title, bars=bars)


def changes_svg(title: str, numbers: "Sequence[NumberChange]") -> str:
    """A histogram of the changes of each column, those that moved most first. Unchanged rows are not in the bars."""
    panels = []
    for one in sorted(numbers, key=lambda number: -number.mean_absolute)[:MOST_PANELS]:
        counts = one.histogram.counts
        highest, width = max(1, int(counts.max())), 600 / len(counts)
        panels.append(
            {
                "name": shortened(one.name, 60),
                "mean": f"{one.mean:+.3g}",
                "unchanged": f"{one.unchanged / max(1, one.rows):.1%}",
                "reach": f"{one.histogram.reach:g}",
                "bars": [
                    {
                        "x": round(at * width + 0.5, 1),
                        "height": round(85 * int(count) / highest, 1),
                        "colour": "#b3362b" if at < len(counts) // 2 else "#1f5fa8",
                    }
                    for at, count in enumerate(counts)
                    if count
                ],
            }
        )
    return _drawn(_CHANGES, title=title, panels=panels)


def write_picture(path: Path, svg: str) -> None:
    """Write an SVG file. Raises StorageError if it cannot be written."""
    try:
        if kind_of(path) != "missing":
            require_plain(path)  # opening a pipe would block until it has a reader
            with path.open("rb") as existing:
                head = existing.read(16)
            if head and not head.startswith(b"<svg"):
                raise StorageError(f"the picture {str(path)!r} exists and is not an SVG file; choose another path")
        path.write_text(svg)
    except OSError as error:
        raise StorageError(
            f"the picture {str(path)!r} cannot be written: {error.strerror}; choose another path"
        ) from error


def _drawn(template: str, **values: object) -> str:
    from jinja2 import Environment  # only for commands that draw

    return Environment(autoescape=True, trim_blocks=True).from_string(template).render(**values)
