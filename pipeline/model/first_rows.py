"""Whether a model raises on each of the first rows of a file, which is its own fault and not theirs. Does not import
torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from ..errors import ModelFailedError

#: So many rows at the start of a file are tried one by one where their block fails.
FIRST_ROWS = 8


class FirstRows:
    """The first eight rows of a file that reach the model, in blocks of any size. Blocks are announced in their order,
    and may be scored in any."""

    def __init__(self) -> None:
        self._announced = 0
        self._failed: dict[int, str] = {}
        self._lock = Lock()

    def announce(self, rows: int) -> "FirstOfBlock":
        """The next block of the file, of `rows` rows: which of them are among the first eight."""
        start = self._announced
        self._announced = min(FIRST_ROWS, start + rows)
        return FirstOfBlock(file=self, start=start, count=self._announced - start)

    def add(self, failed: Mapping[int, str]) -> None:
        """Note rows on which the model raises alone, by their place among the first eight, with what it says.

        Raises:
            ModelFailedError: these are all of them.
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
        """The same as `FirstRows.add`, by place in the block; places beyond `count` do not matter."""
        self.file.add({self.start + place: said for place, said in failed.items() if place < self.count})
