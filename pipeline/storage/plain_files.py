"""Opens regular files only: reading a named pipe would wait for its writer forever, and a device may do anything.
Independent of the contents of the files.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Literal

Kind = Literal["file", "folder", "other", "missing"]
#: There is no file with this name: the folder lacks it, or is not a folder.
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_NAMES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """What a path is, following links. Raises OSError if that cannot be determined, as in a folder without
    permission."""
    try:
        mode = _stat(path).st_mode
    except OSError as error:
        if error.errno in _MISSING:
            return "missing"
        raise
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def require_plain(path: str | os.PathLike[str]) -> None:
    """Raise OSError if a path is not a regular file; its `strerror` says what it is. Opens nothing."""
    mode = _stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = _NAMES.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {what}, not a regular file", os.fspath(path))


def read_plain(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file. Raises OSError, also for a pipe, a device, or a name with a NUL byte."""
    require_plain(path)
    return Path(path).read_bytes()


def _stat(path: str | os.PathLike[str]) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - text and paths alike
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name contains a NUL byte", os.fspath(path)) from error
