"""The sections of docs/ that are generated from the code, and where they are.

A page holds a section between two comments, and everything around it is written by hand:

    <!-- generated: options -->
    ...
    <!-- end -->
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scoreline.jobs.cli import COMMANDS

from .columns import columns_section
from .commands import command_section
from .decisions import decisions_section
from .errors import exit_codes_section
from .events import events_section
from .examples import example_names, example_section
from .files import FILES, file_section, files_section
from .graphs import layers_section, operators_section, transformers_section
from .options import options_section, variables_section
from .python_api import GROUPS, python_section
from .records import records_section
from .specs import expression_functions_section, pack_spec_section

DOCS = Path(__file__).resolve().parents[2] / "docs"
REGION = re.compile(r"<!-- generated: (?P<name>[^>]+?) -->\n.*?<!-- end -->", re.DOTALL)

SECTIONS: dict[str, Callable[[], str]] = {
    "columns": columns_section,
    "decisions": decisions_section,
    "events": events_section,
    "exit codes": exit_codes_section,
    "expression functions": expression_functions_section,
    "files": files_section,
    "layers": layers_section,
    "operators": operators_section,
    "options": options_section,
    "pack spec": pack_spec_section,
    "records": records_section,
    "transformers": transformers_section,
    "variables": variables_section,
    **{f"command {name}": partial(command_section, name) for name in COMMANDS},
    **{f"example {name}": partial(example_section, name) for name in example_names()},
    **{f"file {name}": partial(file_section, name) for name in FILES},
    **{f"python {name}": partial(python_section, name) for name in GROUPS},
}


def pages() -> list[Path]:
    """Every page of docs/, sorted."""
    return sorted(DOCS.rglob("*.md"))


def section_names(text: str) -> list[str]:
    """The names of the generated sections in a page, in order."""
    return [found["name"] for found in REGION.finditer(text)]


def filled(text: str) -> str:
    """The text of a page with each generated section up to date. Raises KeyError for an unknown name."""
    return REGION.sub(_section, text)


def _section(found: re.Match[str]) -> str:
    name = found["name"]
    return f"<!-- generated: {name} -->\n\n{SECTIONS[name]().strip()}\n\n<!-- end -->"
