"""The files of an input before their formats are determined, and the rules for the name of a single file. Shared by
local files and objects.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import UsageError
from ..storage.folders import Entry, is_hidden
from .formats import FORMATS, format_by_suffix
from .patterns import Pattern


class Found(NamedTuple):
    """The files of an input. `root`: the folder, or the URI of the prefix, that their names are relative to; the other
    fields as in `Discovery`."""

    root: str
    entries: list[Entry]
    searched: frozenset[str] = frozenset()
    loops: Sequence[str] = ()
    pattern: Pattern | None = None
    table_version: str | None = None


def refuse_single(where: str, name: str, format: str) -> None:  # noqa: A002
    """Raise UsageError for an input that is a single file with a hidden name, or of unknown format."""
    if is_hidden(name):
        raise UsageError(
            f"the name of input {where!r} begins with {name[0]!r}, so readers would skip its predictions; rename it"
        )
    if format == "auto" and format_by_suffix(where) is None:
        raise UsageError(
            f"the format of {where!r} cannot be determined from its name; pass --format {' or '.join(FORMATS)}"
        )
