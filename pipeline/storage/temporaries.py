"""Names of files and folders until they are complete and renamed."""

import hashlib
import re
import secrets

_TEMPORARY = re.compile(r"\.scoreline-[0-9a-f]{16}(-[0-9a-f]{16})?\.tmp")


def temporary_name(name: str) -> str:
    """A new temporary name for a file of this name: hidden from readers, recognisable as Scoreline's, and always 48
    bytes long. No two calls return the same, so that two writers of one file never write into each other's."""
    return f"{_begin(name)}-{secrets.token_hex(8)}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a name has the form that `temporary_name` produces, or produced before its names were unique."""
    return _TEMPORARY.fullmatch(name) is not None


def is_temporary_of(name: str, target: str) -> bool:
    """Whether a name is a temporary for a file of the name `target`."""
    return is_temporary(name) and name.startswith(_begin(target))


def _begin(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f".scoreline-{digest[:16]}"
