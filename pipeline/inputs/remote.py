"""Finds the objects of an input: below a prefix, matching a glob, or a single one. One listing, whose size, ETag and
time of each object are all that is needed: no object is asked for on its own.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import NoInputError
from ..storage.folders import Entry, is_hidden
from ..storage.remote import Bucket, RemoteObject, bucket_of
from ..storage.uris import Location
from .formats import format_by_suffix
from .found import Found, refuse_single
from .patterns import ANY_DEPTH, Pattern, is_pattern


def find_objects(location: Location, format: str) -> Found:  # noqa: A002
    """The objects at a location.

    A URI with a wildcard is a glob, one that ends in `/` or names a bucket is a prefix. Any other may be either: if an
    object has this key, it is that object.

    Raises:
        NoInputError: nothing is there, or it cannot be listed.
        UsageError: a single object of unknown format or with a hidden name; obstore is not installed.
    """
    key = location.key.removesuffix("/")
    try:
        bucket = bucket_of(location)
        if is_pattern(key):
            return _matching(bucket, location)
        if not key or location.key.endswith("/"):
            return _below(bucket, key)
        if format != "auto" or format_by_suffix(key) is not None:
            return _one(bucket, key, format) or _below(bucket, key)
        below = _below(bucket, key)
        return below if below.entries else (_one(bucket, key, format) or below)
    except OSError as error:
        raise unreadable(location, error) from error


def list_named(location: Location, names: Sequence[str]) -> list[Entry | None]:
    """Objects by their names below a prefix, in the same order; None for those that do not exist. One listing of the
    prefix that they have in common.

    Raises:
        NoInputError: it cannot be listed.
        UsageError: obstore is not installed.
    """
    root = f"{location.key.removesuffix('/')}/".removeprefix("/")
    folder = posixpath.commonpath([posixpath.dirname(root + name) for name in names])
    try:
        bucket = bucket_of(location)
        found = {one.key: one for one in bucket.list(folder)}
    except OSError as error:
        raise unreadable(location, error) from error
    objects = [(name, found.get(root + name)) for name in names]
    return [None if one is None else _entry(bucket, one, name) for name, one in objects]


def unreadable(location: Location, error: OSError) -> NoInputError:
    """The error for a location that cannot be listed or read."""
    return NoInputError(
        f"{str(location)!r} cannot be read: {error.strerror}; its contents are unknown, so nothing was done; check the"
        " URI, the endpoint and the credentials"
    )


def _one(bucket: Bucket, key: str, format: str) -> Found | None:  # noqa: A002
    """The object with this key; None if there is none."""
    try:
        found = bucket.head(key)
    except FileNotFoundError:
        return None
    root, _, name = key.rpartition("/")
    refuse_single(f"{bucket.uri}/{key}", name, format)
    return Found(_uri(bucket, root), [_entry(bucket, found, name)])


def _below(bucket: Bucket, prefix: str) -> Found:
    return Found(_uri(bucket, prefix), list(_entries(bucket, prefix)))


def _matching(bucket: Bucket, location: Location) -> Found:
    steps = location.key.removesuffix("/").split("/")
    first = next(index for index, step in enumerate(steps) if is_pattern(step))
    prefix, only_folders = "/".join(steps[:first]), location.key.endswith("/")
    pattern = Pattern(root=_uri(bucket, prefix), names=tuple(steps[first:]), only_folders=only_folders)

    ends_deep = not only_folders and pattern.names[-1] == ANY_DEPTH  # its last step is that of a file
    sought = replace(pattern, names=(*pattern.names, "*")) if ends_deep else pattern

    def matches(name: str) -> bool:
        parts = name.split("/")
        return sought.matches_or_enters(parts[:-1] if only_folders else parts)

    return Found(pattern.root, [one for one in _entries(bucket, prefix) if matches(one.name)], pattern=pattern)


def _entries(bucket: Bucket, prefix: str) -> Iterator[Entry]:
    """The objects below a prefix whose names are not hidden, without those that only mark a folder."""
    start = len(prefix) + 1 if prefix else 0
    for found in bucket.list(prefix):
        name = found.key[start:]
        if name and not _is_marker(found) and not any(map(is_hidden, name.split("/"))):
            yield _entry(bucket, found, name)


def _is_marker(found: RemoteObject) -> bool:
    """Whether an object only marks a folder: consoles create an empty one, whose key ends in `/`, which is cut off."""
    return not found.size and format_by_suffix(found.key) is None


def _entry(bucket: Bucket, found: RemoteObject, name: str) -> Entry:
    return Entry(f"{bucket.uri}/{found.key}", name, "file", is_link=False, listed=found)


def _uri(bucket: Bucket, prefix: str) -> str:
    return f"{bucket.uri}/{prefix}" if prefix else bucket.uri
