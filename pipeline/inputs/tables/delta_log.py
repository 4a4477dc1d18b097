"""The files of a Delta log: which versions it has, and a copy of what describes one version, from an object store. Does
not import deltalake.

The names are those of the protocol (PROTOCOL.md of delta-io/delta): `N.json` is a commit; `N.checkpoint.parquet`,
`N.checkpoint.PART.PARTS.parquet` and `N.checkpoint.UUID.json` or `.parquet` are checkpoints, which may refer to files
in `_sidecars`.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...errors import NoInputError
from ...storage.remote import bucket_of
from ...storage.uris import Location
from ..remote import unreadable

LOG, SIDECARS = "_delta_log", "_sidecars/"
#: Objects that are copied at once.
COPY_THREADS = 32
_COMMIT = re.compile(r"(?P<version>[0-9]{20})\.json")
_CHECKPOINT = re.compile(
    r"(?P<version>[0-9]{20})\.checkpoint\.((?P<part>[0-9]{10})\.(?P<parts>[0-9]{10})\.|[0-9a-f-]{36}\.)?(parquet|json)"
)


def version_range(names: Iterable[str]) -> range:
    """The versions of a log by the names of its files; empty where it has none."""
    found = [
        int(match["version"]) for name in names if (match := _COMMIT.fullmatch(name) or _CHECKPOINT.fullmatch(name))
    ]
    return range(min(found), max(found) + 1) if found else range(0)


def files_of_version(names: Iterable[str], version: int | None) -> list[str]:
    """The last complete checkpoint up to a version (None: the current one), and the commits since."""
    names = sorted(names)
    commits = {int(match["version"]): name for name in names if (match := _COMMIT.fullmatch(name))}
    complete = _complete_checkpoints(names)
    start = max((one for one in complete if version is None or one <= version), default=None)
    first = 0 if start is None else start
    found = [commits[one] for one in sorted(commits) if one >= first and (version is None or one <= version)]
    if start is None:
        return found
    return [*complete[start], *(name for name in names if name.startswith(SIDECARS)), *found]


def _complete_checkpoints(names: Iterable[str]) -> Mapping[int, list[str]]:
    """The files of each checkpoint that is whole or has all of its parts."""
    checkpoints: dict[tuple[int, str], list[str]] = {}
    for name in names:
        if match := _CHECKPOINT.fullmatch(name):
            checkpoints.setdefault((int(match["version"]), match["parts"] or name), []).append(name)
    return {
        version: files
        for (version, parts), files in checkpoints.items()
        if not parts.isdigit() or len(files) == int(parts)
    }


def copy_log(table: Location, folder: Path, version: int | None) -> None:
    """Copy the log of a table at a version (None: the current one) to a folder.

    Raises:
        NoInputError: there is no log, it does not have the version, or it cannot be read.
        UsageError: obstore is not installed.
    """
    prefix = "/".join([*filter(None, [table.key.removesuffix("/")]), LOG])
    try:
        bucket = bucket_of(table)
        objects = {one.key.removeprefix(f"{prefix}/"): one for one in bucket.list(prefix)}
        refuse_missing_version(str(table), objects, version)

        def copy(name: str) -> None:
            path = folder / LOG / name
            path.parent.mkdir(parents=True, exist_ok=True)
            bucket.download(objects[name].key, path, etag=objects[name].etag or None)

        with ThreadPoolExecutor(COPY_THREADS) as pool:
            list(pool.map(copy, files_of_version(objects, version)))
    except OSError as error:
        raise unreadable(table, error) from error


def refuse_missing_version(where: str, names: Iterable[str], version: int | None) -> None:
    """Raise NoInputError if there is no table, or if its log does not have a version."""
    known = version_range(names)
    if not known:
        raise NoInputError(f"there is no Delta table at {where!r}: it has no {LOG} with versions; check the path")
    if version is not None and version not in known:
        raise NoInputError(
            f"the Delta table {where!r} has no version {version}: its log has versions {known.start} to"
            f" {known.stop - 1}"
        )
