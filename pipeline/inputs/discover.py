"""Finds the partitions of a file, folder, glob or table, local or in object storage, as a sorted list. Independent of
columns and models.

Names that begin with `_` or `.` are skipped, as Spark, Hive and Arrow do. Folders named `key=value` are
Hive keys.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import NoInputError, UsageError, not_utf8
from ..records import Partition
from ..storage.folders import Entry, Walker, broken_link, listing_error
from ..storage.plain_files import Kind, kind_of
from ..storage.ranges import refuse_gone_service
from ..storage.uris import is_remote, parse_uri
from .formats import FORMATS, format_by_suffix
from .found import Found, refuse_single
from .hive import hive_keys
from .patterns import Pattern, expand, is_pattern, parse
from .tables.uris import TableUri, parse_table

#: The first bytes of a Parquet file.
PARQUET_MAGIC = b"PAR1"
#: How many ignored files are opened to read their first bytes: per suffix, and in all.
SNIFFED_OF_A_SUFFIX, SNIFFED = 16, 1000
#: Requests at once, each for one object.
REQUEST_THREADS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Discovery:
    """The files of an input.

    `real_root`: the canonical path of the folder whose structure the output mirrors, or its URI; `ignored`: names of
    files whose suffix is not an input format, of which those in `ignored_parquet` begin like Parquet files; `loops`:
    links to a folder on their own path, which were not followed; `searched`: the real paths of folders that were
    searched recursively; `pattern`: the glob, if the input is one; `table_version`: the version of the table, if the
    input is one, whose data files are the partitions.
    """

    real_root: str
    partitions: tuple[Partition, ...]
    ignored: tuple[str, ...] = ()
    ignored_parquet: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()
    searched: frozenset[str] = frozenset()
    pattern: Pattern | None = None
    table_version: str | None = None


def discover(where: str, *, format: str = "auto") -> Discovery:  # noqa: A002
    """Find the partitions of an input.

    Args:
        where: a file, a folder (searched recursively) or a glob, which may contain `**`; or the URI of an object or of
            a prefix, which may be a glob as well; or a table (`tables/uris.py`).
        format: `auto` to use the suffix, or the name of a format, which then applies to every file.

    Returns:
        Partitions sorted by name, so that the order does not depend on the file system.

    Raises:
        NoInputError: the path or the version of a table does not exist, contains no input files or a broken link, or a
            folder or bucket cannot be listed.
        DataError: the data files of a table are not all of its content, or do not have its columns.
        StorageError: listing a folder failed on the disk.
        UsageError: a single file of unknown format or with a hidden name, an invalid path, or a library that is needed
            is not installed.
    """
    table = parse_table(where)
    refuse_path(where if table is None else table.name, "input")
    if table is not None:
        files, format = _table(table, format), "parquet"  # noqa: A001 - whatever the suffixes
    else:
        files = _objects(where, format) if is_remote(where) else _files(where, format)
    found, ignored = [], []
    for entry in files.entries:
        name = _utf8(entry.name)
        file_format = format_by_suffix(name) if format == "auto" else FORMATS[format]
        partition = _partition(entry, file_format.name) if file_format is not None and entry.kind != "other" else None
        if partition is None and entry.kind == "nowhere" and entry.is_link:
            raise broken_link(entry)
        if partition is None:
            ignored.append(entry)
        else:
            found.append(partition)
    if not files.entries and files.pattern is not None:
        raise NoInputError(f"no file matches {where!r}; names that begin with _ or . are skipped")
    if not found:
        seen = (
            f" ({len(ignored)} other file{'' if len(ignored) == 1 else 's'}, such as {ignored[0].name!r})"
            if ignored
            else ""
        )
        *others, last = [suffix for one in FORMATS.values() for suffix in one.suffixes]
        raise NoInputError(f"no {', '.join(others)} or {last} under {where!r}{seen}; pass --format to use any name")
    if all(partition.size == 0 for partition in found):
        raise NoInputError(f"nothing to score under {where!r}: every file is empty (0 bytes)")
    return Discovery(
        real_root=files.root if is_remote(files.root) else _utf8(os.path.realpath(files.root)),
        partitions=tuple(sorted(found, key=lambda p: p.name)),
        ignored=tuple(sorted(entry.name for entry in ignored)),
        ignored_parquet=tuple(sorted(_begin_as_parquet(ignored))),
        loops=tuple(dict.fromkeys(files.loops)),
        searched=files.searched,
        pattern=files.pattern,
        table_version=files.table_version,
    )


def _table(table: TableUri, format: str) -> Found:  # noqa: A002
    """The data files of a version of a table."""
    if format not in ("auto", "parquet"):
        raise UsageError(f"--format {format} does not suit {table}, whose data files are Parquet; leave it out")
    try:
        if table.kind == "delta":
            from .tables.delta import find_delta  # imports deltalake

            return find_delta(table)
        from .tables.iceberg import find_iceberg  # imports pyiceberg

        return find_iceberg(table)
    except ImportError as error:
        library = "deltalake" if table.kind == "delta" else "pyiceberg"
        raise UsageError(f"{table} needs {library}; install it with: pip install 'scoreline[{table.kind}]'") from error


def _objects(where: str, format: str) -> Found:  # noqa: A002
    from .remote import find_objects  # imports obstore

    return find_objects(parse_uri(where), format)


def _files(where: str, format: str) -> Found:  # noqa: A002
    """The file at a path, the files below it, or those that match it."""
    walker = Walker()
    match _kind(where):
        case "file":
            root, name = os.path.split(where)
            refuse_single(where, name, format)
            return Found(root, [Entry(where, name, "file", os.path.islink(where))])  # noqa: PTH114
        case "folder":
            entries = list(walker.files(walker.start(where)))
            searched = frozenset({os.path.realpath(where), *walker.linked})
            return Found(where, entries, searched, walker.loops)
        case "other":
            raise NoInputError(f"input {where!r} is a pipe, a socket or a device; pass a file, a folder or a glob")
    if not is_pattern(where):
        raise NoInputError(f"input {where!r} does not exist")
    pattern = parse(where)
    if _kind(pattern.root) != "folder":
        raise NoInputError(f"no file matches {where!r}: folder {pattern.root!r} does not exist")
    matched = {entry.name: entry for entry in expand(walker, pattern)}
    return Found(pattern.root, list(matched.values()), frozenset(walker.linked), walker.loops, pattern)


def _kind(where: str) -> Kind:
    try:
        return kind_of(where)
    except OSError as error:
        if is_pattern(where):  # a pattern may be longer than any valid name
            return "missing"
        raise listing_error(where, error) from error


def _begin_as_parquet(ignored: Sequence[Entry]) -> Iterator[str]:
    """The ignored files that begin like Parquet files. Opens a limited number of files."""
    seen = Counter[str]()
    chosen = []
    for entry in ignored:
        suffix = os.path.splitext(entry.name)[1]  # noqa: PTH122 - text
        if entry.kind == "file" and entry.listed is None and seen[suffix] < SNIFFED_OF_A_SUFFIX:
            seen[suffix] += 1
            chosen.append(entry)
    for entry in chosen[:SNIFFED]:
        try:
            with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123 - text
                if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
                    yield entry.name
        except OSError:  # the file is ignored in any case
            continue


def refuse_path(where: str, what: str) -> None:
    """Raise UsageError for an invalid path: a URL that is not supported, which would become a folder of that name, a
    NUL byte, or bytes that are not UTF-8, which the manifest of a run cannot represent.

    Args:
        what: `input` or `output`.
    """
    if "://" in where and not is_remote(where):
        raise UsageError(
            f"{what} {where!r} is a URL, but only local paths and s3://, gs:// and az:// URIs are supported; pass a"
            " path"
        )
    if "\0" in where:
        raise UsageError(f"{what} {where!r} contains a NUL byte, which paths cannot; pass another path")
    try:
        where.encode("utf-8")
    except UnicodeEncodeError as error:
        raise not_utf8(what, where, "rename it") from error


def _utf8(name: str) -> str:
    """Check that a name is UTF-8, so that a manifest can represent it. Raises UsageError."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise not_utf8("the name of input", name, "rename it") from error
    return name


def _partition(entry: Entry, format_name: str) -> Partition | None:
    """The partition of a file; None for a pipe or a socket, which might never end. Raises NoInputError or StorageError
    if it cannot be examined."""
    if (listed := entry.listed) is not None:
        return Partition(
            path=entry.path,
            name=entry.name,
            format=format_name,
            size=listed.size,
            mtime_ns=listed.modified_ns,
            etag=listed.etag or None,
            hive=tuple(hive_keys(entry.name)),
        )
    size = mtime_ns = inode = 0  # of a dangling link, which fails on its own when opened
    if entry.kind != "nowhere":
        try:
            status = os.stat(entry.path)  # noqa: PTH116 - one call for each of many files
        except FileNotFoundError:
            pass  # deleted since it was listed
        except OSError as error:
            raise listing_error(entry.path, error) from error
        else:
            if not stat.S_ISREG(status.st_mode):
                return None
            size, mtime_ns, inode = status.st_size, status.st_mtime_ns, status.st_ino
    return Partition(
        path=os.path.abspath(entry.path),  # noqa: PTH100
        name=entry.name,
        format=format_name,
        size=size,
        mtime_ns=mtime_ns,
        inode=inode,
        hive=tuple(hive_keys(entry.name)),
    )


def is_unchanged(partition: Partition) -> bool:
    """Whether a file is unchanged since it was found: its size, mtime and, if known, inode; for an object, which takes
    a request, its size, mtime and ETag. Raises StorageError where its service does not answer any more."""
    if is_remote(partition.path):
        return _is_unchanged_object(partition)
    try:
        now = os.stat(partition.path)  # noqa: PTH116 - one call, as cheap as it gets
    except OSError:
        return False
    same_file = partition.inode in (0, now.st_ino)
    return same_file and (now.st_size, now.st_mtime_ns) == (partition.size, partition.mtime_ns)


def unchanged(partitions: Sequence[Partition]) -> list[Partition]:
    """Those of an input that are unchanged since they were found; several objects are asked for at once."""
    if not partitions or not is_remote(partitions[0].path):
        return [partition for partition in partitions if is_unchanged(partition)]
    with ThreadPoolExecutor(REQUEST_THREADS) as pool:
        kept = pool.map(is_unchanged, partitions)
        return [partition for partition, keep in zip(partitions, kept, strict=True) if keep]


def _is_unchanged_object(partition: Partition) -> bool:
    from ..storage.remote import bucket_of  # imports obstore

    location = parse_uri(partition.path)
    try:
        now = bucket_of(location).head(location.key)
    except OSError as error:
        refuse_gone_service(partition.path, error)
        return False
    return (now.size, now.modified_ns, now.etag or None) == (partition.size, partition.mtime_ns, partition.etag)
