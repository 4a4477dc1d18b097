"""Compiled templates: kept, used again, and compiled again where anything differs."""

import sys
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader
from scoreline.pipeline.reporting.template_cache import TemplateCache


@pytest.fixture(autouse=True)
def _bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is written beside the source, whatever the environment says."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)


def rendered(folder: Path, made_with: str = "1", *, compiles: bool = True) -> str:
    """The template, rendered in a new environment, which may refuse to compile."""
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, bytecode_cache=TemplateCache(folder, made_with)
    )
    if not compiles:
        environment.compile = None  # type: ignore[assignment]
    return environment.get_template("page.html.j2").render(name="<b>")


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "__pycache__").iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html.j2").write_text("one {{ name }}")
    return tmp_path


def test_it_is_compiled_once(folder: Path) -> None:
    """The second environment loads it."""
    assert rendered(folder) == "one &lt;b&gt;"
    (path,) = kept(folder)
    assert path.name == f"page.html.{sys.implementation.cache_tag}.jinja"
    assert rendered(folder, compiles=False) == "one &lt;b&gt;"


def test_it_is_compiled_again(folder: Path) -> None:
    """After a change of the template or of what it was made with, and where the file is damaged."""
    rendered(folder)
    (folder / "page.html.j2").write_text("two {{ name }}")
    assert rendered(folder) == "two &lt;b&gt;"
    first = kept(folder)[0].read_bytes()
    assert rendered(folder, "2") == "two &lt;b&gt;"
    assert kept(folder)[0].read_bytes() != first
    for damaged in (b"", first[:-9], b"\0" * 50, first[:15] + b"\0" * 50):
        kept(folder)[0].write_bytes(damaged)
        assert rendered(folder) == "two &lt;b&gt;"
        assert kept(folder)[0].read_bytes() == first


def test_nothing_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python writes no bytecode, or something else has the name of the folder."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "dont_write_bytecode", True)
        assert rendered(folder) == "one &lt;b&gt;"
        assert not (folder / "__pycache__").exists()
    (folder / "__pycache__").write_text("a file")
    assert rendered(folder) == "one &lt;b&gt;"
