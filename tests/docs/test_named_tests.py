"""Every test that the documents reference exists, so that every promise is tested."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCUMENTS = sorted((TESTS.parent / "docs").rglob("*.md"))
#: `inputs/test_csv.py::test_name…`, with `…` for the rest of a name. Without a file, the last named file is meant.
NAMED = re.compile(r"`(?:tests/)?((?:[a-z0-9_]+/)*test_[a-z0-9_]+\.py)?(?:::([A-Za-z_0-9]+)(…?))?`")


@cache
def names_in(file: Path) -> set[str]:
    """The functions and classes of a file."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: page.stem)
def test_every_named_test_exists(document: Path) -> None:
    """The file, and the name or its beginning."""
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        file: str | None = None
        for path, name, more in NAMED.findall(line):
            if path or name:
                file = path or file
                assert file is not None, f"line {number}: {name} has no file"
                assert (TESTS / file).is_file(), f"line {number}: {file}"
                found = names_in(TESTS / file)
                assert not name or any(one == name or (more and one.startswith(name)) for one in found), (
                    f"line {number}: {file} has no {name}"
                )


def test_the_guarantees_name_their_tests() -> None:
    """Each of the promises has one."""
    page = (TESTS.parent / "docs" / "explanation" / "guarantees.md").read_text(encoding="utf-8")
    assert sum(bool(path or name) for path, name, _ in NAMED.findall(page)) > 100
