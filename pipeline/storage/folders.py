"""Folders, listed: the only place that does so. A folder that cannot be listed ends the command, since the files in it
would otherwise be taken for absent. Independent of what the files are for.

Links to files and folders are followed. A real folder is entered once per path: a link that leads to a folder which it
lies in is cut, and noted.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import NoInputError, ScorelineError, StorageError

#: The place is at fault, not the disk.
PLACE_ERRORS = {
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
}
#: A link that leads nowhere is met by whoever opens it.
_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}

Failed = Callable[[str, OSError], ScorelineError]


class Entry(NamedTuple):
    """A name in a folder. `name`: its path below the folder where the search began, with `/`; `kind`: behind links;
    `nowhere` is a link that leads to nothing, or a name that has gone."""

    path: str
    name: str
    kind: Literal["file", "folder", "other", "nowhere"]
    is_link: bool


class Folder(NamedTuple):
    """A folder to be listed. `real`: its path without links; `above`: that of it and of every folder that its path goes
    through. No inodes: not every file system gives each folder one of its own."""

    path: str
    name: str
    real: str
    above: frozenset[str]


def is_hidden(name: str) -> bool:
    """Whether readers skip it, as Spark, Hive and Arrow do: it begins with `_` or `.`."""
    return name.startswith(("_", "."))


def listing_error(path: str, error: OSError) -> ScorelineError:
    """The typed error for something that is read, and cannot be listed or looked at."""
    if error.errno in PLACE_ERRORS:
        return NoInputError(f"{path!r} cannot be read: {error.strerror}; what is in it is unknown, so nothing is done")
    return StorageError(f"{path!r} cannot be read: {error.strerror or error}; look at the disk, then run again")


@dataclass(kw_only=True, slots=True)
class Walker:
    """A search. `failed` makes the error that ends it; names for which `skip` holds are passed over.

    `loops`: links that were cut, by name; `linked`: the real paths of folders that were searched through a link.
    """

    failed: Failed = listing_error
    skip: Callable[[str], bool] = is_hidden
    loops: list[str] = field(default_factory=list)
    linked: set[str] = field(default_factory=set)

    def start(self, path: str, name: str = "") -> Folder:
        """The folder where a search begins. Links to it, or to any folder that it lies in, are loops."""
        real = Path(os.path.realpath(path))
        return Folder(path, name, str(real), frozenset(map(str, (real, *real.parents))))

    def entries(self, folder: Folder) -> list[Entry]:
        """What a folder holds, in the order of the names."""
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
        """A folder in a folder; None where a link leads back to one on its own path."""
        below = os.path.join(folder.real, os.path.basename(entry.path))  # noqa: PTH118, PTH119 - text
        real = os.path.realpath(below) if entry.is_link else below
        if real in folder.above:
            self.loops.append(entry.name)
            return None
        return Folder(entry.path, entry.name, real, folder.above | {real})

    def files(self, folder: Folder) -> Iterator[Entry]:
        """Everything below that is no folder: of each folder its own files, then those of the folders in it."""
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
        """Remember a folder that is searched to the bottom, if a link has led there."""
        if entry.is_link:
            self.linked.add(os.path.realpath(entry.path))

    def folders(self, folder: Folder) -> Iterator[Folder]:
        """A folder and every folder below it."""
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
