"""The generated sections of docs/ are up to date, and the reference is complete. `make docs` writes the sections."""

import ast
import re
from pathlib import Path

import pytest
from scoreline.jobs.demo import TASKS
from scoreline.pipeline.planning.option_table import OPTIONS
from scoreline.pipeline.scoring.line import FIRST, LAST, LOAD, SCORE

import scoreline
from doc_blocks import ROOT
from test_walls import FLOORS
from tools.reference import house, python_api
from tools.reference.sections import DOCS, SECTIONS, filled, pages, section_names

WITH_SECTIONS = [page for page in pages() if section_names(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_SECTIONS, ids=lambda page: str(page.relative_to(DOCS)))
def test_sections_are_up_to_date(page: Path) -> None:
    """They equal what is generated now."""
    text = page.read_text(encoding="utf-8")
    assert text == filled(text)


def test_every_section_is_in_one_page() -> None:
    """So every command, option, event, exit code, file and public name is in the reference."""
    found = [name for page in pages() for name in section_names(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(SECTIONS)


def test_the_drawing_of_the_house_is_up_to_date() -> None:
    """It shows the rooms on the floors that the walls are checked by."""
    assert [sorted(floor) for floor in house.floors()] == [sorted(floor) for floor in FLOORS]
    assert house.PICTURE.read_text(encoding="utf-8") == house.house_picture()


def test_every_public_name_is_in_the_reference() -> None:
    """Once."""
    assert sorted(name for group in python_api.GROUPS.values() for name in group) == sorted(scoreline.__all__)


def test_every_task_of_the_demo_is_in_the_table_of_columns() -> None:
    """So a new task, which has a demo, is described there."""
    page = (DOCS / "reference" / "columns.md").read_text(encoding="utf-8")
    assert [task for task in TASKS if task != "binary" and f"--task {task}`" not in page] == []


def test_every_stage_is_explained() -> None:
    """In the page about a run, in the table that names what the table of stages shows."""
    page = (DOCS / "explanation" / "how-a-run-works.md").read_text(encoding="utf-8")
    listed = [name for row in re.findall(r"^\| ([\w, ]+) \|", page, re.MULTILINE) for name in row.split(", ")]
    stages = [*FIRST, *(entry.name for entry in (*LOAD, *SCORE)), *LAST]
    assert sorted(listed) == sorted([*stages, "stage"])


def test_the_columns_of_every_task_are_listed() -> None:
    """By an example at least."""
    tasks = [name for name in python_api.GROUPS["tasks"] if name != "Ensemble"]
    assert [name for name in tasks if f"{name}(" not in SECTIONS["columns"]()] == []


def test_every_environment_variable_is_in_the_reference() -> None:
    """Those of the options, and those that the code reads or sets."""
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    variables = {option.variable for option in OPTIONS} | variables_of_the_code()
    assert {"ORT_DISABLE_TELEMETRY", "SCORELINE_LOG_FORMAT"} < variables
    assert [name for name in sorted(variables) if f"`{name}`" not in page] == []


def variables_of_the_code() -> set[str]:
    """The names with which modules that use os.environ could look into it: constants of capitals with an underscore."""
    found: set[str] = set()
    for folder in ("pipeline", "jobs", "schemas", "scoreline"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if "environ" in text:
                constants = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
                words = [one for one in constants if isinstance(one, str)]
                found |= {one for one in words if re.fullmatch(r"_?[A-Z]+(_[A-Z]+)+", one)}
    return found
