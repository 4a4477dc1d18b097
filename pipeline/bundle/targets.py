"""What `--threshold` and `--explain-target` name: a head, a label, or a label of a head. Independent of torch.

A name is written as it is, a label behind its head and a dot (`fraud.yes`). Where that could mean two things, is empty,
or begins or ends with a blank, its parts go into quotes, as in dotted keys of TOML: `"fraud.yes"` is a head or label of
this name, `fraud."yes"` the label of a head.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterator
from typing import TypeAlias

from ..errors import UsageError, one_line

#: The head, where there are several, and the label: none, one or both of them.
Target: TypeAlias = tuple[str, ...]
_QUOTED = re.compile(r"""^["']|\.\s*["']""")


def parse_target(said: str) -> Target | None:
    """The parts of a name with quotes; None where it has none.

    Raises:
        UsageError: quotes that are no TOML key.
    """
    if not _QUOTED.search(said):
        return None
    parts = []
    try:
        found = tomllib.loads(f"{said} = 0")
        while isinstance(found, dict):
            ((part, found),) = found.items()
            parts.append(part)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(
            f'{said!r} has quotes and is no TOML key ({one_line(error)}); write "label", head."label" or \'label\''
        ) from error
    return tuple(parts)


def find_target(said: str, targets: Collection[Target], flag: str) -> Target | None:
    """The target that is meant; None where there is no such.

    Raises:
        UsageError: a name that means two of them, or quotes that are no TOML key.
    """
    parts = parse_target(said)
    if parts is not None:
        return parts if parts in targets else None
    meant = [target for target in targets if target and ".".join(target) == said]
    if len(meant) > 1:
        both = " or ".join(f"{quoted(target)} for {_described(target)}" for target in meant)
        raise UsageError(f"{flag} {said!r} could mean {len(meant)} things; write {both}")
    return meant[0] if meant else None


def names_of(targets: Collection[Target]) -> Iterator[str]:
    """How each of them is named, with quotes where it needs them."""
    plain = [".".join(target) for target in targets]
    for target, name in zip(targets, plain, strict=True):
        if target:
            needs_quotes = plain.count(name) > 1 or name != name.strip() or not name or _QUOTED.search(name)
            yield quoted(target) if needs_quotes else name


def quoted(target: Target) -> str:
    """A name that means this target alone."""
    return ".".join(json.dumps(part, ensure_ascii=False).replace("\x7f", "\\u007f") for part in target)


def _described(target: Target) -> str:
    return f"label {target[1]!r} of head {target[0]!r}" if len(target) > 1 else f"head {target[0]!r}"
