"""Hive keys: folders named `key=value`. Their names are percent-decoded for the value only, never for a path."""

from collections.abc import Iterator
from urllib.parse import unquote

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def hive_keys(name: str) -> Iterator[tuple[str, str | None]]:
    """The Hive keys in a path such as `date=2026-11-01/a.parquet`, outermost first."""
    if "=" not in name:
        return
    for folder in name.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if key and equals:
            yield unquote(key), None if value == HIVE_NULL else unquote(value)
