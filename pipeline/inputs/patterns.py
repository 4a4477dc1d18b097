"""Glob patterns on folders listed by `storage.folders`: `*`, `?` and `[...]` within a name, `**` for any number of
folders. Like `glob.glob`, except that names which begin with `_` or `.` are never matched, links that form a loop are
not followed, and a folder that cannot be listed is an error.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from ..storage.folders import Entry, Folder, Walker, broken_link, is_hidden
from .formats import format_by_suffix

_MAGIC = re.compile(r"[*?[]")
ANY_DEPTH = "**"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """A parsed glob. `root`: the folder before the first name with a wildcard; `names`: the patterns of the names below
    it; `only_folders`: whether the glob ends with a slash."""

    root: str
    names: tuple[str, ...]
    only_folders: bool

    def matches_or_enters(self, parts: Sequence[str]) -> bool:
        """Whether a file at this path below the root is found: it matches, or is in a folder that matches, which is
        searched recursively."""
        return not any(map(is_hidden, parts)) and _reaches(self.names, parts)


def is_pattern(text: str) -> bool:
    """Whether a path contains a wildcard."""
    return _MAGIC.search(text) is not None


def parse(text: str) -> Pattern:
    """Split a glob into its root and names."""
    parts = Path(text).parts
    first = next(index for index, part in enumerate(parts) if is_pattern(part))
    return Pattern(root=str(Path(*parts[:first])), names=parts[first:], only_folders=text.endswith("/"))


def expand(walker: Walker, pattern: Pattern) -> Iterator[Entry]:
    """The files that match, and those in folders that match. A file may be yielded twice."""
    yield from _expand(walker, walker.start(pattern.root), pattern.names, only_folders=pattern.only_folders)


def _expand(
    walker: Walker, folder: Folder, names: Sequence[str], *, only_folders: bool, searched: bool = False
) -> Iterator[Entry]:
    """`searched`: whether the subfolders of the folder are searched, too, whatever their names."""
    head, rest = names[0], names[1:]
    if head == ANY_DEPTH:
        if not rest:
            yield from walker.files(folder)
            return
        for below in walker.folders(folder):
            yield from _expand(walker, below, rest, only_folders=only_folders, searched=True)
        return
    matches = _matcher(head)
    for entry in walker.entries(folder):
        if not matches(entry.name.rpartition("/")[2]):
            if searched:
                _refuse_broken_link(entry)
            continue
        if entry.kind != "folder":
            if not rest and not only_folders:
                yield entry
            else:
                _refuse_broken_link(entry)
        elif (entered := walker.enter(folder, entry)) is not None:
            if rest:
                yield from _expand(walker, entered, rest, only_folders=only_folders)
            else:
                walker.note_link(entry)
                yield from walker.files(entered)


def _refuse_broken_link(entry: Entry) -> None:
    """Raise NoInputError for a link to nothing where folders are searched, unless it is named as a file."""
    if entry.kind == "nowhere" and entry.is_link and format_by_suffix(entry.name) is None:
        raise broken_link(entry)


def _matcher(name: str) -> Callable[[str], object]:
    return re.compile(translate(name)).match if is_pattern(name) else name.__eq__


def _reaches(names: Sequence[str], parts: Sequence[str]) -> bool:
    if not names:
        return True
    if names[0] == ANY_DEPTH:
        return len(names) == 1 or any(_reaches(names[1:], parts[skipped:]) for skipped in range(len(parts) + 1))
    return bool(parts) and bool(_matcher(names[0])(parts[0])) and _reaches(names[1:], parts[1:])
