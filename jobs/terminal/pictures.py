"""Pictures as SVG, for a browser or a mail. None is needed to read an answer: the same numbers stand in a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...pipeline.tasks.calibration import Reliability

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
<text x="-40" y="125" text-anchor="middle" transform="rotate(-90 -40 125)">share that came true</text>
</g>
{% endfor %}
<text x="55" y="402" fill="#555">bars: how many rows a bin holds</text>
</svg>
"""


def reliability_svg(title: str, panels: "list[tuple[str, Reliability]]") -> str:
    """Predicted probabilities against the share that came true, a panel each; the diagonal is what is aimed at."""
    from jinja2 import Environment  # torch brings it

    shown = []
    for name, found in panels:
        filled = [place for place in range(len(found.counts)) if found.counts[place]]
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
    template = Environment(autoescape=True, trim_blocks=True).from_string(_RELIABILITY)
    return template.render(title=title, panels=shown)
