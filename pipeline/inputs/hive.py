"""Hive keys: folders named `key=value`. Their names are percent-decoded for the value only, never for a path."""

from collections.abc import Iterator
from urllib.parse import unquote

from ..errors import UsageError

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def hive_keys(name: str) -> Iterator[tuple[str, str | None]]:
    """The Hive keys in a path such as `date=2026-11-01/a.parquet`, outermost first. Raises UsageError for one that is
    not UTF-8: as text, others would be equal to it."""
    if "=" not in name:
        return
    for folder in name.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if key and equals:
            yield _decoded(key, name), None if value == HIVE_NULL else _decoded(value, name)


def _decoded(text: str, name: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise UsageError(f"the Hive key {text!r} of input {name!r} is not UTF-8; rename the folder") from error
