"""The names of the files of an output, which identify their input and split. Independent of their content."""

import re

from ..storage.temporaries import temporary_name
from ..storage.uris import is_remote, parse_uri

REJECTS = "_rejects"
SUFFIX = ".parquet"
_NUMBERED = re.compile(r"(?P<whole>.+)-(?P<split>[0-9]{5,9})\.parquet", re.DOTALL)
#: The longest file name, and the longest path, in bytes.
MOST_NAME_BYTES, MOST_PATH_BYTES = 255, 4095
#: The longest key of an object.
MOST_KEY_BYTES = 1024


def whole_name(source: str) -> str:
    """The part for an input with one split: the path of the input, with `.parquet` appended after any other suffix."""
    return source if source.endswith(SUFFIX) else source + SUFFIX


def part_name(source: str, split: int, *, several: bool) -> str:
    """The part for a split: `big-00003.parquet`, or the whole name where it is the only split of its input."""
    whole = whole_name(source)
    return f"{whole.removesuffix(SUFFIX)}-{split:05d}{SUFFIX}" if several else whole


def rejects_name(part: str) -> str:
    """The file for the rejects of a part."""
    return f"{REJECTS}/{part.removesuffix(SUFFIX)}.arrow"


def numbered(name: str) -> tuple[str, int] | None:
    """The whole name and the number of the split in the name of a part; None where it has no number."""
    match = _NUMBERED.fullmatch(name)
    return (match["whole"] + SUFFIX, int(match["split"])) if match else None


def too_long(root: str, part: str) -> str | None:
    """A description of what is too long in the paths of a part, its rejects, or their temporaries; None where nothing
    is."""
    if is_remote(root):
        key = f"{parse_uri(root).key.removesuffix('/')}/{rejects_name(part)}".removeprefix("/")
        key_bytes = len(key.encode())
        return (
            f"a key of {key_bytes} bytes, above the limit of {MOST_KEY_BYTES}" if key_bytes > MOST_KEY_BYTES else None
        )
    folder, _, last = part.rpartition("/")
    name_bytes = len(last.encode())
    if name_bytes > MOST_NAME_BYTES:
        return f"a name of {name_bytes} bytes, above the limit of {MOST_NAME_BYTES}"
    longest = max(name_bytes, len(temporary_name("")))
    path_bytes = len(f"{root}/{REJECTS}/{folder}/".encode("utf-8", "surrogateescape")) + longest
    if path_bytes > MOST_PATH_BYTES:
        return f"a path of {path_bytes} bytes, above the limit of {MOST_PATH_BYTES}"
    return None
