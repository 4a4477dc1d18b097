"""The kinds of input by name. To add a kind, write its class and list it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .images import ImageKind
from .kind import InputKind
from .sequences import SequenceKind
from .tables import TableKind
from .texts import TextKind

if TYPE_CHECKING:
    from ...schemas.inputs import AnyInput

KINDS: dict[str, type[InputKind[Any]]] = {kind.name: kind for kind in (TableKind, ImageKind, SequenceKind, TextKind)}


def kind_of(entry: AnyInput) -> InputKind[Any]:
    """The kind of an input."""
    return KINDS[entry.kind](entry)
