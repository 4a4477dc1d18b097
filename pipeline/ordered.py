"""Arguments whose order has a meaning. Imports nothing of this package but its errors."""

from collections.abc import ItemsView, KeysView, Mapping, Set
from typing import Any

from .errors import UsageError


def refuse_unordered(**arguments: Any) -> None:
    """Raise UsageError for a set among the arguments, at any depth of their lists and mappings: it would be taken in
    the order of hashes, which of text is another one in every process. Views of a mapping keep its order."""
    for name, value in arguments.items():
        _refuse(name, value)


def _refuse(where: str, value: Any) -> None:
    if isinstance(value, Set) and not isinstance(value, KeysView | ItemsView):
        raise UsageError(f"{where} is a {type(value).__name__}, which has no order; pass a list")
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _refuse(f"{where}[{key!r}]", entry)
    elif isinstance(value, list | tuple):
        for at, entry in enumerate(value):
            _refuse(f"{where}[{at}]", entry)
