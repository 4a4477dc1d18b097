"""Links between pages, to headings and to files of the repository lead somewhere; every page is in the site."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from doc_blocks import ROOT, pages

DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?:)(?P<file>[^)#\s]*)(?:#(?P<heading>[^)\s]+))?\)|<img[^>]* src=\"(?P<image>[^\"]+)\"")
CODE = re.compile(r"^( *)```.*?^\1```$|`[^`\n]*`|<!--.*?-->", re.DOTALL | re.MULTILINE)
#: A page or picture of docs/ that code, messages and comments name.
NAMED = re.compile(r"\bdocs/[\w./-]+\.(?:md|svg)\b")


@pytest.mark.parametrize("page", [*pages(), ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Pages of the site link to pages and pictures of the site only."""
    for found in LINK.finditer(CODE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / (found["file"] or found["image"] or page.name)).resolve()
        assert target.exists(), f"{page}: {found[0]}"
        assert not page.is_relative_to(DOCS) or target.is_relative_to(DOCS), f"{page}: {found[0]} is not in the site"
        if found["heading"]:
            assert found["heading"] in anchors(target), f"{page}: {found[0]}: {sorted(anchors(target))}"


@cache
def anchors(page: Path) -> frozenset[str]:
    """The names of a page's headings, as the builder of the site makes them."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in headings)


def test_every_page_is_in_the_navigation() -> None:
    """Once; decisions are listed by a page of their own."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = sorted(leaves(config["nav"]))
    files = {str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md")}
    assert listed == sorted(name for name in files if not re.match(r"decisions/\d", name))


def leaves(tree: object) -> list[str]:
    """The pages of a navigation."""
    if isinstance(tree, dict):
        return [page for one in tree.values() for page in leaves(one)]
    return [page for one in tree for page in leaves(one)] if isinstance(tree, list) else [str(tree)]


def test_code_names_pages_that_exist() -> None:
    """In messages, docstrings and comments."""
    seen = 0
    for folder in ("pipeline", "jobs", "schemas", "scoreline", "benchmarks", "tools", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            for name in NAMED.findall(file.read_text(encoding="utf-8")):
                assert (ROOT / name).exists(), f"{file}: {name}"
                seen += 1
    assert seen > 5
