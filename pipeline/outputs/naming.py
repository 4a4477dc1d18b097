"""What the files of an output are called: their names say which input and which of its splits they belong to. Knows
nothing of what is in them.
"""

import re

REJECTS = "_rejects"
SUFFIX = ".parquet"
_NUMBERED = re.compile(r"(?P<whole>.+)-(?P<split>[0-9]{5,9})\.parquet")


def whole_name(source: str) -> str:
    """Where the rows of an input go when they are one split: its own path, with `.parquet` behind any other suffix."""
    return source if source.endswith(SUFFIX) else source + SUFFIX


def part_name(source: str, split: int, *, several: bool) -> str:
    """Where a split goes: `big-00003.parquet`, or the plain name where it is the only one of its input."""
    whole = whole_name(source)
    return f"{whole.removesuffix(SUFFIX)}-{split:05d}{SUFFIX}" if several else whole


def rejects_name(part: str) -> str:
    """Where the rejects of a part go."""
    return f"{REJECTS}/{part.removesuffix(SUFFIX)}.arrow"


def numbered(name: str) -> tuple[str, int] | None:
    """The whole name and the number in a name that `part_name` may have made; None where it has none."""
    match = _NUMBERED.fullmatch(name)
    return (match["whole"] + SUFFIX, int(match["split"])) if match else None
