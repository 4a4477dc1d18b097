"""Files that are opened only where they are regular files: a named pipe would wait for its writer for ever, a device
may do anything. Independent of what the files hold.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Literal

Kind = Literal["file", "folder", "other", "missing"]
#: No file under this name: the folder lacks it, or is no folder.
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_NAMES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """What is at a path, behind links. Raises OSError where that cannot be known, as in a forbidden folder."""
    try:
        mode = _stat(path).st_mode
    except OSError as error:
        if error.errno in _MISSING:
            return "missing"
        raise
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def require_plain(path: str | os.PathLike[str]) -> None:
    """Raise OSError, with what it is in its `strerror`, for what is not a regular file. Opens nothing."""
    mode = _stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = _NAMES.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {what}, not a regular file", os.fspath(path))


def read_plain(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file. Raises OSError, also for a pipe, a device, and a name with a NUL byte."""
    require_plain(path)
    return Path(path).read_bytes()


def _stat(path: str | os.PathLike[str]) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - text and paths alike
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name holds a NUL byte", os.fspath(path)) from error
