"""Reads TOML files that users write. Limits the depth of nesting and the size of integers."""

import tomllib
from pathlib import Path
from typing import Any

from .plain_files import read_plain

#: How deeply tables and lists may be nested.
MOST_DEPTH = 16


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8 or not TOML, is nested deeper than `MOST_DEPTH`, or has an integer of more than 64
        bits.
    """
    too_deep = f"tables or lists are nested deeper than {MOST_DEPTH} levels; flatten them"
    try:
        found = tomllib.loads(read_plain(path).decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError(too_deep) from error
    except tomllib.TOMLDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; save it as UTF-8") from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise ValueError("an integer has more than 64 bits") from error
    level: list[Any] = [found]
    for _ in range(MOST_DEPTH):
        level = [value for one in level for value in (one.values() if isinstance(one, dict) else one)]
        if any(type(value) is int and not -(2**63) <= value < 2**63 for value in level):
            raise ValueError("an integer has more than 64 bits")
        level = [value for value in level if isinstance(value, dict | list)]
    if level:
        raise ValueError(too_deep)
    return found
