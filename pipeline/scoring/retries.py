"""Blocks that a model fails on as a whole and passes in pieces: told once for each kind of message, and counted. A
retry gives the right values, slowly, and must not hide why. Knows nothing of models.
"""

import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class Retried:
    """What a kind of message was first said of, and the blocks and rows it was said of so far."""

    source: str
    first_row: int
    last_row: int
    reason: str
    blocks: int = 0
    rows: int = 0


@dataclass(slots=True)
class Retries:
    """`tell`: told of the first block of each kind."""

    tell: Callable[[Retried], object]
    kinds: dict[str, Retried] = field(default_factory=dict)

    def see(self, reasons: Collection[str], *, source: str, first_row: int, rows: int) -> None:
        """A block, and what the model said of it or of pieces of it. Messages that differ in numbers are of a kind."""
        for kind, reason in {re.sub(r"\d+", "#", reason): reason for reason in reasons}.items():
            found = self.kinds.get(kind)
            if found is None:
                found = Retried(source=source, first_row=first_row, last_row=first_row + rows - 1, reason=reason)
                self.kinds[kind] = found
                self.tell(found)
            found.blocks += 1
            found.rows += rows


def warn_retried(one: Retried) -> None:
    """For those who have no log."""
    warnings.warn(
        f"{one.source}: rows {one.first_row} to {one.last_row}: {in_words(one)}", RuntimeWarning, stacklevel=2
    )


def in_words(one: Retried) -> str:
    """What has happened, and why."""
    return f"the model fails on these rows together and passes in pieces, which is slow: {one.reason}"
