"""A path, directory or glob → partitions in a frozen, sorted list. Knows nothing of columns or models.

Names that begin with `_` or `.` are skipped, as Spark, Hive and Arrow skip them. Folders named `key=value` are
Hive keys; their names are percent-decoded for the value only, never for a path.
"""

import glob
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from ..errors import NoInputError, UsageError
from ..records import Format, Partition

SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv"}
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, kw_only=True, slots=True)
class Discovery:
    """What stands under an input. `root`: the folder that output paths mirror; `ignored`: names of files that
    are no input by their suffix."""

    root: Path
    partitions: tuple[Partition, ...]
    ignored: tuple[str, ...] = ()


def discover(where: str, *, format: Literal["auto", "parquet", "csv"] = "auto") -> Discovery:  # noqa: A002
    """Find the partitions of an input.

    Args:
        where: a file, a directory (searched to the bottom) or a glob (`**` included).
        format: `auto` goes by suffix (.parquet, .csv, .csv.gz); `parquet` or `csv` take every file for one.

    Returns:
        Partitions sorted by name, so that the order never depends on the file system.

    Raises:
        NoInputError: nothing is there, or nothing that can be an input.
        UsageError: a single file whose format cannot be told, or an address that is not local.
    """
    refuse_address(where, "input")
    if os.path.isfile(where):  # noqa: PTH113 - the text may hold anything a user types
        root, files = os.path.dirname(where), [where]  # noqa: PTH120
        if format == "auto" and _format(where) is None:
            raise UsageError(f"cannot tell the format of {where!r} by its name; say --format parquet or csv")
    elif os.path.isdir(where):  # noqa: PTH112
        root, files = where, list(_walk(where))
    elif glob.has_magic(where):
        root, files = _glob_root(where), list(_expand(where))
    else:
        raise NoInputError(f"input {where!r} does not exist")
    found, ignored = [], []
    for file in files:
        name = _utf8(os.path.relpath(file, root) if root in ("", ".") else _below(file, root))
        kind = _format(file) if format == "auto" else format
        partition = _partition(file, name, kind) if kind is not None else None
        if partition is None:
            ignored.append(name)
        else:
            found.append(partition)
    if not files and glob.has_magic(where):
        raise NoInputError(f"no file matches {where!r}")
    if not found:
        seen = f" ({len(ignored)} other files, such as {ignored[0]!r})" if ignored else ""
        raise NoInputError(f"no .parquet, .csv or .csv.gz under {where!r}{seen}; --format takes any name")
    if all(partition.size == 0 for partition in found):
        raise NoInputError(f"nothing to score under {where!r}: every file is empty (0 bytes)")
    return Discovery(
        root=Path(root), partitions=tuple(sorted(found, key=lambda p: p.name)), ignored=tuple(sorted(ignored))
    )


def refuse_address(where: str, what: str) -> None:
    """Raise UsageError for `s3://` and the like, which would otherwise become a folder of that name."""
    if "://" in where:
        raise UsageError(f"{what} {where!r} is an address, and only local paths are known; name a path")


def _format(name: str) -> Format | None:
    return next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def _hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _walk(folder: str) -> Iterator[str]:
    """Every file below, through links to folders too; a folder that links back to one above is entered once."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = os.stat(parent)  # noqa: PTH116 - os.walk hands out text
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not _hidden(name))
        yield from (os.path.join(parent, name) for name in files if not _hidden(name))  # noqa: PTH118


def _below(file: str, root: str) -> str:
    """The path of a file below a folder that it begins with, with `/`."""
    return file[len(root) :].lstrip(os.sep).replace(os.sep, "/")


def _utf8(name: str) -> str:
    """A name that can stand in a manifest. Raises UsageError for bytes that are no UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of input {os.fsencode(name)!r} is not UTF-8; rename it") from error
    return name


def _glob_root(pattern: str) -> str:
    plain: list[str] = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        plain.append(part)
    return str(Path(*plain))


def _expand(pattern: str) -> set[str]:
    root, found = _glob_root(pattern), set[str]()
    for match in glob.glob(pattern, recursive=True):  # noqa: PTH207 - absolute patterns too
        plain = str(Path(match))
        if any(_hidden(part) for part in Path(plain).relative_to(root).parts):
            continue
        found.update(_walk(plain) if os.path.isdir(plain) else [plain])  # noqa: PTH112
    return found


def _partition(file: str, name: str, kind: Format) -> Partition | None:
    """None for a pipe or a socket, which would never end."""
    try:
        about = os.stat(file)  # noqa: PTH116 - one call for each of many files
        size, mtime_ns, inode = about.st_size, about.st_mtime_ns, about.st_ino
        if not stat.S_ISREG(about.st_mode):
            return None
    except OSError:  # a dangling link: it fails alone, when it is opened
        size = mtime_ns = inode = 0
    return Partition(
        path=os.path.abspath(file),  # noqa: PTH100
        name=name,
        format=kind,
        size=size,
        mtime_ns=mtime_ns,
        inode=inode,
        hive=tuple(hive_keys(name)),
    )


def hive_keys(name: str) -> Iterator[tuple[str, str | None]]:
    """The keys that a path says, outermost first: `date=2026-11-01/a.parquet`."""
    if "=" not in name:
        return
    for folder in name.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if key and equals:
            yield unquote(key), None if value == HIVE_NULL else unquote(value)


def is_unchanged(partition: Partition) -> bool:
    """Whether a file is still the one that was found: its size, mtime and, where it is known, inode."""
    try:
        now = os.stat(partition.path)  # noqa: PTH116 - one call, as cheap as it gets
    except OSError:
        return False
    same_file = partition.inode in (0, now.st_ino)
    return same_file and (now.st_size, now.st_mtime_ns) == (partition.size, partition.mtime_ns)
