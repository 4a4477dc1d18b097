"""Refuses to replace or remove parts that a table refers to."""

from collections.abc import Collection, Iterator

from ..errors import OutputError
from ..outputs.naming import numbered, whole_name
from ..records import Partition
from .existing import ExistingParts


def refuse_replacing(existing: ExistingParts, remaining: Collection[Partition], *, prune: bool) -> None:
    """Raise OutputError if a run would replace or remove a part that was committed to a table.

    Args:
        remaining: the inputs with splits to score.
        prune: whether orphaned parts will be removed.
    """
    if not existing.committed:
        return
    for name in _replaced(existing, remaining, prune=prune):
        if name in existing.committed:
            how = "removed" if name in existing.orphaned_parts else "replaced"
            raise OutputError(
                f"{name} would be {how}, but it was committed to {existing.committed[name]}, and the files of a table"
                " must not change; choose another --output"
            )


def _replaced(existing: ExistingParts, remaining: Collection[Partition], *, prune: bool) -> Iterator[str]:
    """The parts that a run would replace or remove. A committed part that is missing would be, too: the file that
    replaced it may differ in the last bits."""
    wholes = {whole_name(partition.name) for partition in remaining}
    for name in existing.committed:
        whole, _ = numbered(name) or (name, 0)
        if name in wholes or whole in wholes:
            yield name
    yield from existing.surplus([part.target for parts in existing.kept.values() for part in parts.values()])
    if prune:
        yield from existing.orphaned_parts
