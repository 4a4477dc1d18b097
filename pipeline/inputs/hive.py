"""Hive keys: folders named `key=value`. Their names are percent-decoded for the value only, never for a path."""

from collections.abc import Collection, Iterator
from urllib.parse import unquote

from ..errors import UsageError

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def hive_keys(name: str) -> Iterator[tuple[str, str | None]]:
    """The Hive keys in a path such as `date=2026-11-01/a.parquet`, outermost first."""
    if "=" not in name:
        return
    for folder in name.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if key and equals:
            yield unquote(key), None if value == HIVE_NULL else unquote(value)


def refuse_undecodable(name: str, keys: Collection[str]) -> None:
    """Raise UsageError if the value of one of these keys in a path is not UTF-8: as text, others are equal to it."""
    for folder in name.split("/")[:-1]:
        key, _, value = folder.partition("=")
        try:
            unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            if unquote(key) in keys:
                raise UsageError(f"the Hive key in {folder!r} of input {name!r} is not UTF-8; rename it") from error
