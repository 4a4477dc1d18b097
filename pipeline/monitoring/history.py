"""The history of an output: a line for every run. Does not import torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path

from pydantic import ValidationError

from ...schemas.history import HistoryEntry
from ..errors import NoInputError, one_line
from ..outputs.store import HISTORY, Store
from ..outputs.stores import open_store
from ..storage.folders import listing_error
from ..storage.uris import is_remote, parse_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The runs of an output, in their order. `unreadable`: the number of lines that a crash or another program has
    damaged."""

    output: str
    entries: tuple[HistoryEntry, ...]
    unreadable: int


def append_entry(store: Store, entry: HistoryEntry) -> None:
    """Append the line of a run. Raises ScorelineError if it cannot be written."""
    store.add_line(HISTORY, entry.model_dump_json().encode())


def read_history(output: str) -> History:
    """Read the runs of an output.

    Raises:
        NoInputError: the folder is not an output of Scoreline, or the file cannot be read.
    """
    store = open_store(output, failed=listing_error)
    if not store.has_earlier_run():
        raise NoInputError(f"{output!r} is not an output of scoreline score")
    try:
        lines = store.lines(HISTORY)
    except OSError as error:
        raise NoInputError(f"{store.path(HISTORY)} cannot be read: {error.strerror or one_line(error)}") from error
    entries = []
    for line in lines:
        try:
            entries.append(HistoryEntry.model_validate_json(line))
        except ValidationError:
            continue
    return History(output=output, entries=tuple(entries), unreadable=len(lines) - len(entries))


def find_outputs(paths: Sequence[str]) -> Iterator[str]:
    """The outputs that paths, URIs and globs of either name, in order. Folders that a glob matches and that are not
    outputs are left out.

    Raises:
        NoInputError: a glob matches no output.
    """
    for path in paths:
        if not has_magic(path) or (not is_remote(path) and Path(path).exists()):
            yield path
            continue
        matches = _remote_matches(path) if is_remote(path) else sorted(glob(path))  # noqa: PTH207 - it may be absolute
        found = [one for one in matches if open_store(one, failed=listing_error).has_earlier_run()]
        if not found:
            raise NoInputError(f"no output of scoreline score matches {path!r}")
        yield from found


def _remote_matches(uri: str) -> list[str]:
    """The prefixes that match a URI with wildcards, none of which matches a `/`. Lists one level for each step."""
    from ..storage.remote import bucket_of  # imports obstore

    location = parse_uri(uri)
    try:
        bucket, found = bucket_of(location), [""]
        for step in location.key.removesuffix("/").split("/"):
            if has_magic(step):
                below = [one for prefix in found for one in bucket.folders(prefix)]
                found = [one for one in below if fnmatchcase(one.rpartition("/")[2], step)]
            else:
                found = [f"{prefix}/{step}" if prefix else step for prefix in found]
    except OSError as error:
        raise listing_error(uri, error) from error
    return [f"{bucket.uri}/{one}" for one in found]
