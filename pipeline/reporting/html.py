"""The report's page as HTML: one file without scripts, fonts or anything from a network.

Whatever the templates write is escaped by Jinja2, with control characters made visible and long texts cut before that.
The policy in the page allows its own style sheet, by its digest, and nothing else: a text that got through could
neither run nor load anything.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .page import Page
from .wording import shown

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
#: The longest text: a path of SVG. Names and messages are cut before.
MAX_TEXT = 4000
#: How the templates are compiled.
SYNTAX: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}


def render(page: Page) -> str:
    """The page as HTML."""
    from markupsafe import Markup

    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return _environment().get_template("report.html.j2").render(page=page, style=Markup(style), style_digest=digest)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here: a twentieth of a second

    from .template_cache import TemplateCache

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=_written,
        bytecode_cache=TemplateCache(TEMPLATES, made_with=f"{version('jinja2')} {SYNTAX}"),
        **SYNTAX,
    )


def _written(value: Any) -> Any:
    """A value as the template writes it, before it is escaped. What is marked as HTML is the style sheet, or comes from
    a macro."""
    if hasattr(value, "__html__"):
        return value
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else shown(value, MAX_TEXT)
