"""What a stage is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...events import Event
    from ...timing import StageTimes
    from ..block import Block


class Stage(ABC):
    """One step of the line: a block in, the block with this step's result out.

    `name` is the row of the stage table that its time goes to. Stages of `load` run in the reader thread of one
    partition and may keep state between its blocks; stages of `score` are shared by all lanes and keep none.
    """

    name: str

    @abstractmethod
    def __call__(self, block: Block) -> Block:
        """Raises what `errors.py` names; rows that cannot be scored become rejects instead."""

    def summary(self, times: StageTimes) -> Iterator[Event]:  # noqa: ARG002 - most have none
        """Events for the end of a run.

        Args:
            times: of the whole run.
        """
        return iter(())
