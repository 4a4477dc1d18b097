"""Detects a model that raises on each of the first rows of a file: then the model is at fault, not the rows. Does not
import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from ..errors import ModelFailedError

#: How many rows at the start of a file are scored one by one when their block fails.
FIRST_ROWS = 8


class FirstRows:
    """The first eight rows of a file that reach the model, in blocks of any size. Blocks are announced in file order,
    and may be scored in any order."""

    def __init__(self) -> None:
        self._announced = 0
        self._failed: dict[int, str] = {}
        self._lock = Lock()

    @property
    def settled(self) -> bool:
        """Whether all of the first eight rows have been announced, so that later blocks need not be."""
        return self._announced == FIRST_ROWS

    def announce(self, rows: int) -> "FirstOfBlock":
        """Register the next block of the file, of `rows` rows. Returns which of them are among the first eight."""
        start = self._announced
        self._announced = min(FIRST_ROWS, start + rows)
        return FirstOfBlock(file=self, start=start, count=self._announced - start)

    def add(self, failed: Mapping[int, str]) -> None:
        """Record rows that fail alone: their index among the first eight, with the reason.

        Raises:
            ModelFailedError: all of the first eight rows have failed.
        """
        with self._lock:
            self._failed |= failed
            if len(self._failed) < FIRST_ROWS:
                return
        raise ModelFailedError(
            f"the model raises on each of the first {FIRST_ROWS} rows alone: {self._failed[0]}; no single row is to"
            " blame, so fix the model"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstOfBlock:
    """`count` rows at the start of a block are the rows from `start` on of the first eight of its file."""

    file: FirstRows
    start: int
    count: int

    def add(self, failed: Mapping[int, str]) -> None:
        """`FirstRows.add` by index in the block; indices from `count` on are ignored."""
        self.file.add({self.start + index: reason for index, reason in failed.items() if index < self.count})
