"""Every test that the documents reference exists, so that every promise is tested."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENTS = ("guarantees.md", "models.md", "benchmarks.md")
#: `inputs/test_csv.py::test_name…`, with `…` for the rest of a name. Without a file, the last named file is meant.
NAMED = re.compile(r"`(?:tests/)?((?:[a-z0-9_]+/)*test_[a-z0-9_]+\.py)?(?:::([A-Za-z_0-9]+)(…?))?`")


@cache
def names_in(file: Path) -> set[str]:
    """The functions and classes of a file."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_referenced_test_exists(document: str) -> None:
    """The file, and the name or its beginning."""
    seen = 0
    for number, line in enumerate((TESTS.parent / "docs" / document).read_text().splitlines(), 1):
        file: str | None = None
        for path, name, more in NAMED.findall(line):
            if not path and not name:
                continue
            file = path or file
            assert file is not None, f"line {number}: {name} has no file"
            assert (TESTS / file).is_file(), f"line {number}: {file}"
            found = names_in(TESTS / file)
            assert not name or any(one == name or (more and one.startswith(name)) for one in found), (
                f"line {number}: {file} has no {name}"
            )
            seen += 1
    assert seen
