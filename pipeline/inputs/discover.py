"""A path, directory or glob → partitions in a frozen, sorted list. Knows nothing of columns or models.

Names that begin with `_` or `.` are skipped, as Spark, Hive and Arrow skip them. Folders named `key=value` are
Hive keys; their names are percent-decoded for the value only, never for a path.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ..errors import NoInputError, UsageError
from ..records import Partition
from ..storage.folders import Entry, Walker, is_hidden, listing_error
from ..storage.plain_files import Kind, kind_of
from .formats import FORMATS, format_by_suffix
from .patterns import Pattern, expand, is_pattern, parse

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
#: What a Parquet file begins with.
PARQUET_MAGIC = b"PAR1"
#: How many ignored files are opened for their first bytes: so many of each suffix, and so many in all.
SNIFFED_OF_A_SUFFIX, SNIFFED = 16, 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Discovery:
    """What stands under an input.

    `root`: the folder that output paths mirror, and `real_root` its one path, however it was written; `ignored`: names
    of files that are no input by their suffix, of which `ignored_parquet` begin as Parquet does; `loops`: links that
    lead back to a folder on their own path, and were cut. `searched`: the real paths of folders that were searched to
    the bottom; `pattern`: where a glob was given.
    """

    root: Path
    real_root: str
    partitions: tuple[Partition, ...]
    ignored: tuple[str, ...] = ()
    ignored_parquet: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()
    searched: frozenset[str] = frozenset()
    pattern: Pattern | None = None


class _Found(NamedTuple):
    """The files of an input, before their formats are looked at."""

    root: str
    entries: list[Entry]
    searched: frozenset[str] = frozenset()
    loops: Sequence[str] = ()
    pattern: Pattern | None = None


def discover(where: str, *, format: str = "auto") -> Discovery:  # noqa: A002
    """Find the partitions of an input.

    Args:
        where: a file, a directory (searched to the bottom) or a glob (`**` included).
        format: `auto` goes by suffix; the name of a format takes every file for one.

    Returns:
        Partitions sorted by name, so that the order never depends on the file system.

    Raises:
        NoInputError: nothing is there, nothing that can be an input, or a folder that cannot be listed.
        StorageError: a folder that the disk fails to list.
        UsageError: a single file whose format cannot be told or that readers would skip, or a path that is no path.
    """
    refuse_path(where, "input")
    files = _files(where, format)
    found, ignored = [], []
    for entry in files.entries:
        name = _utf8(entry.name)
        kind = format_by_suffix(name) if format == "auto" else FORMATS[format]
        partition = _partition(entry, kind.name) if kind is not None and entry.kind != "other" else None
        if partition is None:
            ignored.append(entry)
        else:
            found.append(partition)
    if not files.entries and files.pattern is not None:
        raise NoInputError(f"no file matches {where!r}; names that begin with _ or . are skipped")
    if not found:
        seen = f" ({len(ignored)} other files, such as {ignored[0].name!r})" if ignored else ""
        *others, last = [suffix for one in FORMATS.values() for suffix in one.suffixes]
        raise NoInputError(f"no {', '.join(others)} or {last} under {where!r}{seen}; --format takes any name")
    if all(partition.size == 0 for partition in found):
        raise NoInputError(f"nothing to score under {where!r}: every file is empty (0 bytes)")
    return Discovery(
        root=Path(files.root),
        real_root=_utf8(os.path.realpath(files.root)),
        partitions=tuple(sorted(found, key=lambda p: p.name)),
        ignored=tuple(sorted(entry.name for entry in ignored)),
        ignored_parquet=tuple(sorted(_begin_as_parquet(ignored))),
        loops=tuple(dict.fromkeys(files.loops)),
        searched=files.searched,
        pattern=files.pattern,
    )


def _files(where: str, format: str) -> _Found:  # noqa: A002
    """What is at a path, below it, or matches it."""
    walker = Walker()
    match _kind(where):
        case "file":
            root, name = os.path.split(where)
            if is_hidden(name):
                raise UsageError(
                    f"input {where!r} begins with {name[0]!r}: its predictions would have a name that readers of the"
                    " output skip; rename it"
                )
            if format == "auto" and format_by_suffix(where) is None:
                raise UsageError(
                    f"cannot tell the format of {where!r} by its name; pass --format {' or '.join(FORMATS)}"
                )
            return _Found(root, [Entry(where, name, "file", os.path.islink(where))])  # noqa: PTH114
        case "folder":
            entries = list(walker.files(walker.start(where)))
            searched = frozenset({os.path.realpath(where), *walker.linked})
            return _Found(where, entries, searched, walker.loops)
        case "other":
            raise NoInputError(f"input {where!r} is a pipe, a socket or a device, and only files can be scored")
    if not is_pattern(where):
        raise NoInputError(f"input {where!r} does not exist")
    pattern = parse(where)
    if _kind(pattern.root) != "folder":
        raise NoInputError(f"no file matches {where!r}: there is no folder {pattern.root!r}")
    matched = {entry.name: entry for entry in expand(walker, pattern)}
    return _Found(pattern.root, list(matched.values()), frozenset(walker.linked), walker.loops, pattern)


def _kind(where: str) -> Kind:
    try:
        return kind_of(where)
    except OSError as error:
        if is_pattern(where):  # which may be longer than any name
            return "missing"
        raise listing_error(where, error) from error


def _begin_as_parquet(ignored: Sequence[Entry]) -> Iterator[str]:
    """Which of the ignored files are Parquet under another suffix, as far as a bounded look tells."""
    seen = Counter[str]()
    chosen = []
    for entry in ignored:
        suffix = os.path.splitext(entry.name)[1]  # noqa: PTH122 - text
        if entry.kind == "file" and seen[suffix] < SNIFFED_OF_A_SUFFIX:
            seen[suffix] += 1
            chosen.append(entry)
    for entry in chosen[:SNIFFED]:
        try:
            with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123 - text
                if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
                    yield entry.name
        except OSError:  # it is ignored, whatever is in it
            continue


def refuse_path(where: str, what: str) -> None:
    """Raise UsageError for what is no local path: `s3://` and the like, which would become a folder of that name, a NUL
    byte, and bytes that are not UTF-8, which no manifest can hold."""
    if "://" in where:
        raise UsageError(f"{what} {where!r} is an address, and only local paths are known; name a path")
    if "\0" in where:
        raise UsageError(f"{what} {where!r} holds a NUL byte, which no path can; name a path")
    try:
        where.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} {os.fsencode(where)!r} is not UTF-8; rename it") from error


def _utf8(name: str) -> str:
    """A name that can stand in a manifest. Raises UsageError for bytes that are no UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of input {os.fsencode(name)!r} is not UTF-8; rename it") from error
    return name


def _partition(entry: Entry, kind: str) -> Partition | None:
    """None for a pipe or a socket, which would never end. Raises NoInputError or StorageError where it cannot be looked
    at."""
    size = mtime_ns = inode = 0  # of a link to nowhere: it fails alone, when it is opened
    if entry.kind != "nowhere":
        try:
            about = os.stat(entry.path)  # noqa: PTH116 - one call for each of many files
        except FileNotFoundError:
            pass  # gone since it was listed: the same
        except OSError as error:
            raise listing_error(entry.path, error) from error
        else:
            if not stat.S_ISREG(about.st_mode):
                return None
            size, mtime_ns, inode = about.st_size, about.st_mtime_ns, about.st_ino
    return Partition(
        path=os.path.abspath(entry.path),  # noqa: PTH100
        name=entry.name,
        format=kind,
        size=size,
        mtime_ns=mtime_ns,
        inode=inode,
        hive=tuple(hive_keys(entry.name)),
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
