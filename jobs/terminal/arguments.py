"""Finds the value of an option before a command has parsed its arguments, or if it cannot."""

import os
from collections.abc import Sequence


def requested(args: Sequence[str], flag: str, variable: str) -> str | None:
    """The last value of a flag in the arguments, or else that of its environment variable; None if both are missing."""
    found = os.environ.get(variable)
    for at, argument in enumerate(args):
        name, equals, value = argument.partition("=")
        if name == flag:
            found = value if equals else next(iter(args[at + 1 :]), None)
    return found or None
