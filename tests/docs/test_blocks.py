"""Every Python block and every command line in README and docs runs as it is written, or says why it does not.

The blocks of a page run one after the other in this process, in a folder with the bundle `bundles/wine` of the first
tutorial, `wine.parquet`, `truth.csv` and the folder `data/` with two dates; those of the README and of the first
tutorial in an empty folder. A block with a title is written into that file. `doc_blocks.py` lists the comments.
"""

import os
import re
import runpy
import shlex
import shutil
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from conftest import Result
from doc_blocks import ROOT, Block, blocks, pages

Command = Callable[..., Result]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-bundle.md"
RUNNABLE = ("python", "sh", "toml")
#: Languages of blocks that contain no Python and no command of Scoreline.
OTHERS = ("text", "")
PAGES = [page for page in pages() if any(block.language in RUNNABLE for block in blocks(page))]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that each page begins with. Its bundle is that of the first tutorial."""
    folder = tmp_path_factory.mktemp("docs") / "world"
    folder.mkdir()
    (training,) = [block for block in blocks(TUTORIAL) if block.title == "train.py"]
    with working_in(folder):
        names: dict[str, Any] = {}
        exec(compile(training.code, str(TUTORIAL), "exec"), names)
        wine = names["wine"]
        for date, rows in (("2026-11-23", wine[:90]), ("2026-11-24", wine[90:])):
            Path(f"data/date={date}").mkdir(parents=True)
            rows.to_parquet(f"data/date={date}/bottles.parquet", index=False)
        wine[["bottle_id", "cultivar"]].to_csv("truth.csv", index=False)
    return folder


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Make a folder the current one."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(
    page: Path,
    world: Path,
    tmp_path: Path,
    scoreline: Command,
    forked: None,
    one_core: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In order, with the exit code and the output that the page shows."""
    folder = tmp_path / "page"
    if page == TUTORIAL or page.name == "README.md":
        folder.mkdir()
    else:
        shutil.copytree(world, folder)
    runner = Runner(page, scoreline, monkeypatch)
    with working_in(folder), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of the libraries that a page shows
        for block in blocks(page):
            if block.language == "needs" and find_spec(block.code) is None:
                pytest.skip(f"{block.code} is not installed")
            if not block.not_run:
                runner.run(block)


class Runner:
    """Runs the blocks of a page: Python in one namespace, commands in this process."""

    def __init__(self, page: Path, scoreline: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        self._page, self._scoreline, self._monkeypatch = page, scoreline, monkeypatch
        self._names: dict[str, Any] = {"__name__": "__main__", "command": lambda line: self._command(line, 0)}
        self._output = ""

    def run(self, block: Block) -> None:
        """Run one block."""
        if block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")
        if block.language in ("python", "setup") and not block.title:
            exec(compile("\n" * block.line + block.code, str(self._page), "exec"), self._names)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "sh":
            *lines, last = commands(block)
            output = [self._command(line, 0) for line in lines]
            self._output = "".join([*output, self._command(last, block.exit_code)])
        elif block.is_output:
            check_output(block.code, self._output)

    def _command(self, line: str, exit_code: int) -> str:
        words = shlex.split(line, comments=True)
        with self._monkeypatch.context() as patch:
            while "=" in words[0]:
                patch.setenv(*words.pop(0).split("=", 1))
            if words[0] == "python" and Path(words[1]).exists():
                patch.setattr("sys.argv", words[1:])
                runpy.run_path(words[1], run_name="__main__")
                return ""
            assert words.pop(0) == "scoreline", f"{self._page}: {line!r} cannot be run"
            result = self._scoreline(*words)
        assert result.code == exit_code, f"{self._page}: {line!r}: {result.err}"
        return result.out


def commands(block: Block) -> list[str]:
    """The lines of a block, continued ones joined, without comments and empty ones."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def check_output(shown: str, output: str) -> None:
    """Each line that a page shows is in the output; numbers and spaces may differ, and `…` is anything."""
    plain = normal(output)
    for line in shown.splitlines():
        for piece in line.split("…"):
            assert normal(piece) in plain, f"{piece!r} is not in the output:\n{output}"


def normal(text: str) -> str:
    """Text with every number as 0, and spaces reduced to one."""
    return " ".join(re.sub(r"\d[\d,.]*(e[+-]?\d+)?", "0", text).split())


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block of another language runs nowhere, and says so; there are no indented blocks, which could not."""
    for block in blocks(page):
        known = block.language in (*RUNNABLE, *OTHERS, "setup", "needs")
        assert known or block.not_run, f"{page}:{block.line}: {block.language} is marked with no reason"
        assert block.language or "scoreline " not in block.code, f"{page}:{block.line}: a command without a language"
    for line in re.sub(r"^( *)```.*?^\1```$|<!--.*?-->", "", page.read_text(), flags=re.S | re.M).splitlines():
        assert not re.match(r" {4,}(\.venv/bin/)?(scoreline|make|pip|python|import|from) ", line), f"{page}: {line}"


def test_the_comparison_of_output_notices_a_wrong_line() -> None:
    """It would be no test if any line were found."""
    check_output("rows in   178\nmade by …: 3", "rows in 9\nmade by them: 4 on cpu")
    with pytest.raises(AssertionError, match="rows out"):
        check_output("rows out 178", "rows in 178")


def test_marks_belong_to_the_next_block(tmp_path: Path) -> None:
    """And a mark without a block is an error, since it would mark nothing."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: a reason -->\n```sh\nmake x\n```\n<!-- ends with: 65 -->\n```sh\nscoreline y\n```\n"
        "<!-- setup\nn = 1\n-->\n<!-- generated: x -->\n```python\nleft_out\n```\n<!-- end -->\n"
    )
    first, second, third = blocks(page)
    assert (first.not_run, first.line, first.exit_code) == ("a reason", 2, 0)
    assert (second.not_run, commands(second), second.exit_code) == ("", ["scoreline y"], 65)
    assert (third.language, third.code) == ("setup", "n = 1\n")
    page.write_text("<!-- not run: a reason -->\n")
    with pytest.raises(AssertionError, match="not followed by a block"):
        blocks(page)
