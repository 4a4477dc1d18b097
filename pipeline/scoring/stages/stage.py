"""The base class of stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ...events import Event
    from ...timing import StageTimes
    from ..block import Block


class Stage(ABC):
    """One step of the line: takes a block, and returns it with this step's result.

    `name` is its row in the stage table. `opens_files`: whether it opens a file for each row, in threads that all
    flows share. Loading stages belong to one reader and may keep state between its blocks; scoring stages are shared by
    all flows and must be stateless.
    """

    name: ClassVar[str]
    opens_files: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, block: Block) -> Block:
        """Raises subclasses of ScorelineError; rows that cannot be scored become rejects instead."""

    def summary(self, times: StageTimes) -> Iterator[Event]:  # noqa: ARG002 - most have none
        """Events for the end of a run.

        Args:
            times: the stage times of the whole run.
        """
        return iter(())
