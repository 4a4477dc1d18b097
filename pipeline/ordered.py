"""Checks on arguments whose order matters. Imports nothing else of the pipeline but its errors."""

from collections.abc import ItemsView, KeysView, Mapping, Set
from typing import Any

from .errors import UsageError


def refuse_unordered(**arguments: Any) -> None:
    """Raise UsageError for a set among the arguments, at any depth of their lists and mappings: it would be iterated
    in hash order, which for strings differs between processes. Views of a mapping keep its order and are accepted."""
    for name, value in arguments.items():
        _refuse(name, value)


def _refuse(where: str, value: Any) -> None:
    if isinstance(value, Set) and not isinstance(value, KeysView | ItemsView):
        raise UsageError(f"{where} is a {type(value).__name__}, which has no order; pass a list")
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _refuse(f"{where}[{key!r}]", entry)
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            _refuse(f"{where}[{index}]", entry)
