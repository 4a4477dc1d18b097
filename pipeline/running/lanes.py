"""Lanes: how many items each device scores at once, and which flow scores on which. Independent of what a lane is."""

from collections.abc import Sequence
from typing import NamedTuple


class Lane(NamedTuple):
    """A place on a device for one item at a time, by their numbers."""

    device: int
    slot: int


class Lanes:
    """The free lanes. Flow n scores on device n % devices, each flow on a lane of its own where there are enough, and
    otherwise on any that is free. Not safe for threads: flows call it under their lock.

    Args:
        counts: how many lanes each device has.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self._free = [list(range(count)) for count in counts]

    @property
    def num_devices(self) -> int:
        """How many devices there are."""
        return len(self._free)

    def has_free(self, flow: int) -> bool:
        """Whether a flow may score."""
        return bool(self._free[flow % len(self._free)])

    def take(self, flow: int) -> Lane:
        """A free lane for a flow."""
        own, device = divmod(flow, len(self._free))
        free = self._free[device]
        slot = own if own in free else free[-1]
        free.remove(slot)
        return Lane(device, slot)

    def give_back(self, lane: Lane) -> None:
        """The lane is free again."""
        self._free[lane.device].append(lane.slot)
