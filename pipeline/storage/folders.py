"""Lists folders; no other module does. A folder that cannot be listed ends the command, since the files in it would
otherwise be treated as absent. Independent of what the files are for.

Links to files and folders are followed. A link to a folder on its own path would be a loop: it is not followed, and
recorded.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import NoInputError, ScorelineError, StorageError
from .uris import is_remote

if TYPE_CHECKING:
    from .remote import RemoteObject

#: Errors caused by the path, not by the disk.
PATH_ERRORS = {
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
}
#: Errors of dangling links, which are reported when they are opened.
_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}

Failed = Callable[[str, OSError], ScorelineError]


class Entry(NamedTuple):
    """An entry of a folder. `name`: its path below the folder where the search began, with `/`; `kind`: of the target,
    for links; `nowhere` is a dangling link, or an entry that has disappeared. `listed`: what the listing says of an
    object, whose `path` is a URI."""

    path: str
    name: str
    kind: Literal["file", "folder", "other", "nowhere"]
    is_link: bool
    listed: "RemoteObject | None" = None


class Folder(NamedTuple):
    """A folder to be listed. `real`: its path without links; `above`: the real paths of the folder and all its parents
    on the path. Inodes are not used: not every file system gives each folder its own."""

    path: str
    name: str
    real: str
    above: frozenset[str]


def is_hidden(name: str) -> bool:
    """Whether a name begins with `_` or `.`, and readers such as Spark, Hive and Arrow skip it."""
    return name.startswith(("_", "."))


def listing_error(path: str, error: OSError) -> ScorelineError:
    """The typed error for an input path that cannot be listed or examined."""
    if error.errno in PATH_ERRORS:
        return NoInputError(
            f"{path!r} cannot be read: {error.strerror}; its contents are unknown, so nothing was done; check the path"
            " and its permissions"
        )
    what = "service" if is_remote(path) else "disk"
    return StorageError(f"{path!r} cannot be read: {error.strerror or error}; check the {what}, then run again")


def broken_link(entry: Entry) -> NoInputError:
    """The error for a link to nothing that may have been a folder: its files would otherwise be treated as absent."""
    return NoInputError(
        f"{entry.path!r} is a broken link; it may lead to a folder of inputs, so nothing was done; mount what it leads"
        " to, or remove it"
    )


@dataclass(kw_only=True, slots=True)
class Walker:
    """A search of folders. `failed` makes the error that ends it; names for which `skip` is true are skipped.

    `loops`: the names of links that were not followed because they are loops; `linked`: the real paths of folders that
    were searched through a link.
    """

    failed: Failed = listing_error
    skip: Callable[[str], bool] = is_hidden
    loops: list[str] = field(default_factory=list)
    linked: set[str] = field(default_factory=set)

    def start(self, path: str, name: str = "") -> Folder:
        """The folder where a search begins. Links to it or to any of its parents are loops."""
        real = Path(os.path.realpath(path))
        return Folder(path, name, str(real), frozenset(map(str, (real, *real.parents))))

    def entries(self, folder: Folder) -> list[Entry]:
        """The entries of a folder, sorted by name."""
        try:
            with os.scandir(folder.path or ".") as listed:
                found = [(entry, entry.is_symlink()) for entry in listed if not self.skip(entry.name)]
        except OSError as error:
            raise self.failed(folder.path, error) from error
        before = f"{folder.name}/" if folder.name else ""
        made = [
            Entry(os.path.join(folder.path, entry.name), before + entry.name, self._kind(entry, is_link), is_link)  # noqa: PTH118
            for entry, is_link in found
        ]
        return sorted(made, key=lambda entry: entry.path)

    def enter(self, folder: Folder, entry: Entry) -> Folder | None:
        """A subfolder; None if it is a link to a folder on its own path."""
        below = os.path.join(folder.real, os.path.basename(entry.path))  # noqa: PTH118, PTH119 - text
        real = os.path.realpath(below) if entry.is_link else below
        if real in folder.above:
            self.loops.append(entry.name)
            return None
        return Folder(entry.path, entry.name, real, folder.above | {real})

    def files(self, folder: Folder) -> Iterator[Entry]:
        """All entries below a folder that are not folders: first its own files, then those of its subfolders."""
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            inner = []
            for entry in self.entries(here):
                if entry.kind != "folder":
                    yield entry
                elif (entered := self.enter(here, entry)) is not None:
                    inner.append(entered)
                    self.note_link(entry)
            waiting += reversed(inner)

    def note_link(self, entry: Entry) -> None:
        """Record a folder that is searched recursively, if it was reached through a link."""
        if entry.is_link:
            self.linked.add(os.path.realpath(entry.path))

    def folders(self, folder: Folder) -> Iterator[Folder]:
        """A folder and all folders below it."""
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            yield here
            inner = [self.enter(here, entry) for entry in self.entries(here) if entry.kind == "folder"]
            waiting += [entered for entered in reversed(inner) if entered is not None]

    def _kind(self, entry: "os.DirEntry[str]", is_link: bool) -> Literal["file", "folder", "other", "nowhere"]:
        try:
            if entry.is_dir():
                return "folder"
            if entry.is_file():
                return "file"
        except OSError as error:
            if is_link and error.errno in _NOWHERE:
                return "nowhere"
            raise self.failed(entry.path, error) from error
        return "other" if os.path.exists(entry.path) else "nowhere"  # noqa: PTH110 - text
