"""Opens the files that a column of images names. Does not decode them."""

import io
import posixpath
import stat
from collections.abc import Callable, Sequence
from errno import EACCES, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EPERM
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from ..errors import StorageError

#: Reads objects by their URIs, several at once: the bytes of each, or why it cannot be read.
Fetch: TypeAlias = Callable[[Sequence[str]], Sequence[bytes | OSError]]
#: Errors of the path itself, which reject the row. Other errors are failures of the machine.
MISSING = (ENOENT, ENOTDIR)
UNREADABLE = (EACCES, EINVAL, EPERM, ELOOP, ENAMETOOLONG, ENXIO)


class UnfitError(Exception):
    """An image cannot be decoded; the message is the reason."""


class ImageFiles:
    """The files of some images. Objects are read at once, so there should be few.

    Args:
        cells: bytes, paths and URIs.
        folder: where relative paths start; may be a URI.
        fetch: reads objects; without it, URIs are unfit.
    """

    def __init__(self, cells: Sequence[Any], folder: str, fetch: Fetch | None = None) -> None:
        self._cells, self._folder = cells, folder
        uris = {index: uri for index, cell in enumerate(cells) if (uri := _uri(cell, folder)) is not None}
        read = [] if fetch is None or not uris else fetch(list(uris.values()))
        self._uris, self._objects = uris, dict(zip(uris, read, strict=False))

    def open(self, index: int) -> BinaryIO:
        """The bytes of an image, or its file. Opens regular files only, since opening a pipe would block.

        Raises:
            UnfitError: there is no such file.
            StorageError: the machine or the service fails.
        """
        if (uri := self._uris.get(index)) is not None:
            return self._open_object(index, uri)
        try:
            value = self._cells[index].as_py()
            if isinstance(value, bytes):
                return io.BytesIO(value)
            return _open_path(value, Path(self._folder, value))
        except UnicodeDecodeError as error:
            raise UnfitError("is not a valid path: not UTF-8") from error

    def _open_object(self, index: int, uri: str) -> BinaryIO:
        found = self._objects.get(index)
        if found is None:
            raise UnfitError(f"{_shown(uri)} is not a local file")
        if not isinstance(found, OSError):
            return io.BytesIO(found)
        if found.errno in MISSING:
            raise UnfitError(f"no such object {_shown(uri)}") from found
        if found.errno in UNREADABLE:
            raise UnfitError(f"{_shown(uri)} cannot be read: {found.strerror}") from found
        raise storage_error(found, uri) from found


def storage_error(error: OSError, path: str) -> StorageError:
    """The error for a file that cannot be read because of the machine or the service."""
    return StorageError(f"{path!r} cannot be read: {error.strerror or error}; run the same command again to continue")


def _uri(cell: Any, folder: str) -> str | None:
    """The URI that a cell names, below `folder` if it is relative; None for bytes and local paths."""
    try:
        value = cell.as_py()
    except UnicodeDecodeError:
        return None
    if isinstance(value, bytes) or ("://" not in folder and "://" not in value):
        return None
    if "://" in value:
        return str(value)
    if value.startswith("/"):
        return None
    scheme, _, below = folder.partition("://")
    bucket = below.partition("/")[0]
    path = posixpath.normpath(f"{below}/{value}")
    return f"{scheme}://{path}" if path.startswith(f"{bucket}/") else f"{folder}/{value}"  # the latter is refused


def _open_path(value: str, path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except ValueError as error:  # a NUL
        raise UnfitError(f"no such file {_shown(value)}") from error
    except OSError as error:
        if error.errno in MISSING:
            raise UnfitError(f"no such file {_shown(value)}") from error
        if error.errno in UNREADABLE:
            raise UnfitError(f"{_shown(value)} cannot be read: {error.strerror}") from error
        raise storage_error(error, str(path)) from error
    raise UnfitError(f"{_shown(value)} is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")


def _shown(path: str) -> str:
    """A path for a message; only the end of a long one, where paths differ."""
    return repr(path if len(path) <= 80 else "..." + path[-77:])
