"""The blocks of a Markdown page, with the comments that say how to run them.

    <!-- not run: REASON -->      the next block is not run
    <!-- ends with: 65 -->        the last command of the next block ends with this exit code
    <!-- output -->               the next block is in the output of the commands before it
    <!-- needs: PACKAGE -->       the rest of the page runs only if the package is installed
    <!-- setup                    Python that runs here, and that readers do not see
    ...
    -->

Blocks of sections that are generated from docstrings and help texts are left out: they are excerpts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = re.compile(r"<!-- generated: [^>]+ -->.*?<!-- end -->", re.DOTALL)
PART = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|^<!-- (?P<mark>not run|ends with|needs|output)(?:: (?P<value>.+?))? -->$"
    r"|^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block. `language`: `setup` for hidden Python, `needs` for a package. `line`: its number in the page."""

    line: int
    language: str
    code: str
    title: str = ""
    not_run: str = ""
    is_output: bool = False
    exit_code: int = 0


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = GENERATED.sub(lambda found: "\n" * found[0].count("\n"), page.read_text(encoding="utf-8"))
    result, marks = [], dict[str, str]()
    for found in PART.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["setup"] is not None:
            result.append(Block(line=line, language="setup", code=found["setup"]))
        elif found["mark"] == "needs":
            result.append(Block(line=line, language="needs", code=found["value"]))
        elif found["mark"]:
            marks[found["mark"]] = found["value"] or ""
        else:
            result.append(
                Block(
                    line=line,
                    language=found["language"],
                    code=found["code"],
                    title=found["title"] or "",
                    not_run=marks.pop("not run", ""),
                    is_output=marks.pop("output", None) is not None,
                    exit_code=int(marks.pop("ends with", "0")),
                )
            )
    assert not marks, f"{page}: {marks} is not followed by a block"
    return result


def pages() -> list[Path]:
    """README and every page of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
