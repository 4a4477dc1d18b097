"""The targets of `--threshold` and `--explain-target`: a head, a label, or a label of a head. Independent of torch.

A label of a head is written as the name of the head, a dot and the label (`fraud.yes`). Where a name is ambiguous or
empty, or begins or ends with a space, its parts are quoted, as in dotted keys of TOML: `"fraud.yes"` is a head or label
of this name, `fraud."yes"` the label of a head.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterator
from typing import TypeAlias

from ..errors import UsageError, one_line

#: The head, where there are several, and the label; either may be left out.
Target: TypeAlias = tuple[str, ...]
_QUOTED = re.compile(r"""^["']|\.\s*["']""")


def parse_target(name: str) -> Target | None:
    """The parts of a quoted name; None where the name has no quotes.

    Raises:
        UsageError: a name with quotes that is not a TOML key.
    """
    if not _QUOTED.search(name):
        return None
    parts = []
    try:
        found = tomllib.loads(f"{name} = 0")
        while isinstance(found, dict):
            ((part, found),) = found.items()
            parts.append(part)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(
            f'{name!r} has quotes but is not a TOML key ({one_line(error)}); write "label", head."label" or \'label\''
        ) from error
    return tuple(parts)


def find_target(name: str, targets: Collection[Target], flag: str) -> Target | None:
    """The target of this name; None where there is none.

    Raises:
        UsageError: the name is ambiguous, or has quotes but is not a TOML key.
    """
    parts = parse_target(name)
    if parts is not None:
        return parts if parts in targets else None
    meant = [target for target in targets if target and ".".join(target) == name]
    if len(meant) > 1:
        both = " or ".join(f"{quoted(target)} for {_described(target)}" for target in meant)
        raise UsageError(f"{flag} {name!r} could mean {len(meant)} things; write {both}")
    return meant[0] if meant else None


def names_of(targets: Collection[Target]) -> Iterator[str]:
    """The name of each target, quoted where necessary."""
    plain = [".".join(target) for target in targets]
    for target, name in zip(targets, plain, strict=True):
        if target:
            needs_quotes = plain.count(name) > 1 or name != name.strip() or not name or _QUOTED.search(name)
            yield quoted(target) if needs_quotes else name


def quoted(target: Target) -> str:
    """The quoted name of a target, which is never ambiguous."""
    return ".".join(json.dumps(part, ensure_ascii=False).replace("\x7f", "\\u007f") for part in target)


def _described(target: Target) -> str:
    return f"label {target[1]!r} of head {target[0]!r}" if len(target) > 1 else f"head {target[0]!r}"
