"""The data files of a version of a table as the files of an input. Independent of table formats."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError, NoInputError, repeated
from ...storage.folders import Entry, is_hidden, listing_error
from ...storage.plain_files import kind_of
from ...storage.uris import is_remote, parse_uri
from ..found import Found


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A version of a table. `table`: its name in messages; `root`: the path or URI that the `names` of its data files
    are relative to."""

    table: str
    version: str
    root: str
    names: Sequence[str]


def find_files(snapshot: Snapshot) -> Found:
    """The data files of a version, with their sizes and times.

    Raises:
        NoInputError: the version has no data files, or they cannot be listed.
        DataError: a data file does not exist, has a name that the output cannot mirror, or belongs to the version
            twice.
        UsageError: obstore is needed, but not installed.
    """
    if not snapshot.names:
        raise NoInputError(f"version {snapshot.version} of {snapshot.table} has no rows: it has no data files")
    _check_names(snapshot)
    entries = _objects(snapshot) if is_remote(snapshot.root) else _files(snapshot)
    if missing := [name for name, entry in zip(snapshot.names, entries, strict=True) if entry is None]:
        raise DataError(
            f"data file {missing[0]!r} of version {snapshot.version} of {snapshot.table} does not exist in"
            f" {snapshot.root!r}; it may have been vacuumed: use another version"
        )
    found = [entry for entry in entries if entry is not None]
    searched = frozenset() if is_remote(snapshot.root) else frozenset({os.path.realpath(snapshot.root)})
    return Found(snapshot.root, found, searched, table_version=snapshot.version)


def _check_names(snapshot: Snapshot) -> None:
    """Raise DataError for names that lead out of the folder, or whose parts readers would skip."""
    for name in snapshot.names:
        steps = name.split("/")
        if any(step in ("", ".", "..") for step in steps) or "\0" in name:
            raise DataError(
                f"data file {name!r} of {snapshot.table} is not below {snapshot.root!r}, so the output cannot have a"
                " part of the same name; score a copy of the table"
            )
        if hidden := next(filter(is_hidden, steps), None):
            raise DataError(
                f"data file {name!r} of {snapshot.table} is below {hidden!r}, and readers of the output would skip"
                f" names that begin with {hidden[0]!r}; score a copy of the table"
            )
    name, times = Counter(snapshot.names).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"version {snapshot.version} of {snapshot.table} has data file {name!r} {repeated(times)}, and so its rows;"
            " remove the duplicates from the table"
        )


def _files(snapshot: Snapshot) -> list[Entry | None]:
    entries = list[Entry | None]()
    for name in snapshot.names:
        path = f"{snapshot.root.rstrip('/')}/{name}"
        try:
            kind = kind_of(path)
        except OSError as error:
            raise listing_error(path, error) from error
        entries.append(Entry(path, name, "file", Path(path).is_symlink()) if kind == "file" else None)
    return entries


def _objects(snapshot: Snapshot) -> list[Entry | None]:
    from ..remote import list_named  # imports obstore

    return list_named(parse_uri(snapshot.root), snapshot.names)
