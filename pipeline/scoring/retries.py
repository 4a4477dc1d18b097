"""Blocks that a model fails on as a whole but passes in smaller pieces: reported once for each kind of error message,
and counted. The values are correct, but retries are slow, so the reason must be visible. Does not import torch.
"""

import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock


@dataclass(kw_only=True, slots=True)
class Retried:
    """One kind of error message: where it first occurred, and the numbers of blocks and rows so far."""

    source: str
    first_row: int
    last_row: int
    reason: str
    blocks: int = 0
    rows: int = 0


@dataclass(slots=True)
class Retries:
    """`report`: called with the first block of each kind."""

    report: Callable[[Retried], object]
    kinds: dict[str, Retried] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def add(self, reasons: Collection[str], *, source: str, first_row: int, rows: int) -> None:
        """Add a block's error messages, in any thread. Messages that differ only in numbers are of the same kind."""
        for kind, reason in {re.sub(r"\d+", "#", reason): reason for reason in reasons}.items():
            with self._lock:
                found = self.kinds.get(kind)
                if found is None:
                    found = Retried(source=source, first_row=first_row, last_row=first_row + rows - 1, reason=reason)
                    self.kinds[kind] = found
                    self.report(found)
                found.blocks += 1
                found.rows += rows

    def add_kinds(self, kinds: Mapping[str, Retried]) -> None:
        """Add what was counted elsewhere, by kind."""
        for kind, one in kinds.items():
            found = self.kinds.get(kind)
            if found is None:
                self.kinds[kind] = one
                self.report(one)
            else:
                found.blocks += one.blocks
                found.rows += one.rows


def warn_retried(one: Retried) -> None:
    """Warn in Python, where there is no run log."""
    warnings.warn(
        f"{one.source}: rows {one.first_row} to {one.last_row}: {retry_reason(one)}", RuntimeWarning, stacklevel=2
    )


def retry_reason(one: Retried) -> str:
    """The reason, as one line."""
    return f"the model fails on these rows together and passes in pieces, which is slow: {one.reason}"
