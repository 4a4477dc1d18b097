"""What the files of an output are called: their names say which input and which of its splits they belong to. Knows
nothing of what is in them.
"""

import re

from ..storage.temporaries import temporary_name

REJECTS = "_rejects"
SUFFIX = ".parquet"
_NUMBERED = re.compile(r"(?P<whole>.+)-(?P<split>[0-9]{5,9})\.parquet", re.DOTALL)
#: What a file system takes for a name, and for a path, in bytes.
MOST_NAME_BYTES, MOST_PATH_BYTES = 255, 4095


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


def too_long(root: str, part: str) -> str | None:
    """What is too long for a file system of a part, its rejects, or their temporaries, in words; None where nothing
    is."""
    folder, _, last = part.rpartition("/")
    name_bytes = len(last.encode())
    if name_bytes > MOST_NAME_BYTES:
        return f"a name of {name_bytes} bytes, and a file system takes {MOST_NAME_BYTES}"
    longest = max(name_bytes, len(temporary_name("")))
    path_bytes = len(f"{root}/{REJECTS}/{folder}/".encode("utf-8", "surrogateescape")) + longest
    if path_bytes > MOST_PATH_BYTES:
        return f"a path of {path_bytes} bytes, and a system call takes {MOST_PATH_BYTES}"
    return None
