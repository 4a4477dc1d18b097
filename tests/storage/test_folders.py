"""Listing of folders: links are followed, loops are not, every error is reported, and patterns find what `glob.glob`
finds."""

import ast
import errno
import glob
import inspect
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import NoInputError, StorageError
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.inputs.patterns import expand, is_pattern, parse
from scoreline.pipeline.storage.folders import Walker

ROOT = Path(__file__).parent.parent.parent


def fill(root: Path, *names: str) -> None:
    """Create files with one byte each."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def found(where: object) -> list[str]:
    """The names of the partitions of an input."""
    return [partition.name for partition in discover(str(where)).partitions]


def test_nothing_else_lists_folders() -> None:
    """`os.walk` and `glob` ignore errors, so they and similar functions are not used elsewhere in the sources."""
    listing = {"walk", "fwalk", "listdir", "scandir", "iterdir", "glob", "iglob", "rglob"}
    for file in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]:
        text = file.read_text()
        if not any(name in text for name in listing):
            continue
        tree = ast.parse(text)
        used = {
            node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "ast")
        }
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        allowed = {"scandir"} if file == ROOT / "pipeline" / "storage" / "folders.py" else set()
        assert used & listing <= allowed, file
        assert "glob" not in imported, file


class TestLinks:
    """The same rules apply to folders and patterns."""

    @pytest.mark.parametrize("how", ["{}", "{}/**", "{}/*", "{}/**/*.csv", "{}/*/*.csv"])
    def test_a_link_to_a_sibling_is_followed(self, tmp_path: Path, how: str) -> None:
        fill(tmp_path, "in/date=1/a.csv", "else/b.csv")
        (tmp_path / "in" / "date=2").symlink_to("date=1")
        (tmp_path / "in" / "date=3").symlink_to(tmp_path / "else")
        (tmp_path / "in" / "date=3" / "c.csv").symlink_to(tmp_path / "else" / "b.csv")
        assert found(how.format(tmp_path / "in")) == ["date=1/a.csv", "date=2/a.csv", "date=3/b.csv", "date=3/c.csv"]

    @pytest.mark.parametrize("how", ["{}", "{}/**", "{}/*", "{}/**/*.csv"])
    @pytest.mark.parametrize(
        ("link", "target"),
        [
            ("in/loop", "in"),
            ("in/d/loop", "in"),
            ("in/d/loop", "in/d"),
            ("in/d/up", "."),
            ("in/d/root", "/"),
        ],
    )
    def test_a_loop_is_not_followed_and_reported(self, tmp_path: Path, link: str, target: str, how: str) -> None:
        fill(tmp_path, "in/d/a.csv")
        (tmp_path / link).symlink_to(tmp_path / target)
        seen = discover(how.format(tmp_path / "in"))
        assert [partition.name for partition in seen.partitions] == ["d/a.csv"]
        assert seen.loops == (link.removeprefix("in/"),)

    def test_a_loop_behind_a_link_is_cut_where_it_closes(self, tmp_path: Path) -> None:
        """`up` is not on the path of the input, so it is entered; its link back is not followed."""
        fill(tmp_path, "in/a.csv", "else/deep/b.csv", "else/c.csv")
        (tmp_path / "in" / "l").symlink_to(tmp_path / "else" / "deep")
        (tmp_path / "else" / "deep" / "up").symlink_to(tmp_path / "else")
        seen = discover(str(tmp_path / "in"))
        assert [p.name for p in seen.partitions] == ["a.csv", "l/b.csv", "l/up/c.csv"]
        assert seen.loops == ("l/up/deep",)

    def test_the_search_of_two_folders_that_link_to_each_other_ends(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/a/1.csv", "in/b/2.csv")
        (tmp_path / "in" / "a" / "b").symlink_to("../b")
        (tmp_path / "in" / "b" / "a").symlink_to("../a")
        for how in ("", "/**/*.csv"):
            assert found(f"{tmp_path / 'in'}{how}") == ["a/1.csv", "a/b/2.csv", "b/2.csv", "b/a/1.csv"]

    def test_dangling_links_are_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/a.csv")
        (tmp_path / "in" / "gone.csv").symlink_to(tmp_path / "nowhere")
        (tmp_path / "in" / "self.csv").symlink_to("self.csv")
        assert found(tmp_path / "in") == found(f"{tmp_path / 'in'}/*") == ["a.csv", "gone.csv", "self.csv"]

    def test_a_tree_deeper_than_the_stack(self, tmp_path: Path) -> None:
        """The search does not recurse per folder: 400 folders with 200 stack frames left."""
        deep = tmp_path / ("d/" * 400)
        deep.mkdir(parents=True)
        (deep / "a.csv").write_bytes(b"x")
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + 200)
        try:
            assert found(tmp_path) == [f"{'d/' * 400}a.csv"]
            assert found(f"{tmp_path}/**/*.csv") == [f"{'d/' * 400}a.csv"]
        finally:
            sys.setrecursionlimit(limit)


#: Names with every character that patterns and numbering care about.
NAMES = st.sampled_from(["a", "b", "ab", "a.csv", "b.csv", "[a]", "a*", "d=1", "a\nb", "é.csv", "_h", ".h", "x y"])
SEGMENTS = st.sampled_from(
    ["*", "**", "a", "a*", "*.csv", "?", "??", "[ab]", "[!a]*", "[[]a]", "d=*", "*b", "a**", "[a", "*h", "_h", ".*"]
)


@given(
    st.lists(st.tuples(st.lists(NAMES, max_size=3), NAMES), min_size=1, max_size=8),
    st.lists(SEGMENTS, min_size=1, max_size=4),
    st.sampled_from(["", "/"]),
)
def test_patterns_find_what_glob_finds(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[list[str], str]], segments: list[str], end: str
) -> None:
    """On trees without loops, hidden names left out; folders that match are searched to the bottom."""
    root = tmp_path_factory.mktemp("tree")
    for folders, name in files:
        try:
            fill(root, "/".join([*folders, name]))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):  # a name is a file and a folder
            continue
    if not any(map(is_pattern, segments)):
        return
    pattern = "/".join([glob.escape(str(root)), *segments]) + end
    parsed = parse("/".join([str(root), *segments]) + end)
    if not Path(parsed.root).is_dir():
        return

    def is_seen(path: Path) -> bool:
        return path.is_file() and not any(part.startswith(("_", ".")) for part in path.relative_to(parsed.root).parts)

    wanted = set[Path]()
    for match in map(Path, glob.glob(pattern, recursive=True)):  # noqa: PTH207 - the reference
        wanted |= set(match.rglob("*")) if match.is_dir() else {match}
    wanted = {path for path in wanted if is_seen(path)}
    assert {Path(entry.path) for entry in expand(Walker(), parsed)} == wanted
    if not end and segments[-1] != "**":  # a path does not say whether its name is a folder
        for path in Path(parsed.root).rglob("*"):
            if path.is_file():
                assert parsed.matches_or_enters(path.relative_to(parsed.root).parts) == (path in wanted)


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (errno.EACCES, NoInputError),
        (errno.EPERM, NoInputError),
        (errno.EIO, StorageError),
        (errno.ESTALE, StorageError),
        (errno.ETIMEDOUT, StorageError),
        (errno.EMFILE, StorageError),
    ],
)
@pytest.mark.parametrize("how", ["", "/**/*.csv", "/*", "/d*/*.csv"])
def test_a_file_that_cannot_be_examined_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raised: type[Exception], how: str
) -> None:
    """As in a folder that may be listed but not entered."""
    fill(tmp_path, "in/d/a.csv", "in/d/b.csv")
    real = os.stat

    def failing(path: str, **words: object) -> os.stat_result:
        if str(path).endswith("b.csv"):
            raise OSError(number, os.strerror(number), path)
        return real(path, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(raised, match=r"b\.csv' cannot be read"):
        discover(f"{tmp_path / 'in'}{how}")
