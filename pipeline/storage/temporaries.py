"""Names of files and folders until they are complete and renamed."""

import hashlib
import re

_TEMPORARY = re.compile(r"\.scoreline-[0-9a-f]{16}\.tmp")


def temporary_name(name: str) -> str:
    """The temporary name for a file of this name: hidden from readers, recognisable as Scoreline's, and always 31 bytes
    long."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f".scoreline-{digest[:16]}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a name has the form that `temporary_name` produces."""
    return _TEMPORARY.fullmatch(name) is not None
