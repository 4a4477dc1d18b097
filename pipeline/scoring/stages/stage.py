"""The base class of stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...events import Event
    from ...timing import StageTimes
    from ..block import Block


class Stage(ABC):
    """One step of the line: takes a block, and returns it with this step's result.

    `name` is its row in the stage table. Loading stages run in the reader thread of one partition and may keep state
    between its blocks; scoring stages are shared by all lanes and must be stateless.
    """

    name: str

    @abstractmethod
    def __call__(self, block: Block) -> Block:
        """Raises subclasses of ScorelineError; rows that cannot be scored become rejects instead."""

    def summary(self, times: StageTimes) -> Iterator[Event]:  # noqa: ARG002 - most have none
        """Events for the end of a run.

        Args:
            times: the stage times of the whole run.
        """
        return iter(())
