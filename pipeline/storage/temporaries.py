"""What a file or folder is called until it is whole and moved to its place."""

import hashlib
import re

_TEMPORARY = re.compile(r"\.scoreline-[0-9a-f]{16}\.tmp")


def temporary_name(name: str) -> str:
    """The name beside a place of this name: hidden from readers, recognisable as ours, and 31 bytes long however long
    the other is."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f".scoreline-{digest[:16]}.tmp"


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` makes such names."""
    return _TEMPORARY.fullmatch(name) is not None
