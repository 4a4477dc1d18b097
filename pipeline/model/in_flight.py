"""Tensors that a GPU may still be working with. Independent of models."""

from collections import deque
from threading import Lock
from typing import Any

import torch

from ..features.pinned import never_free


def new_event() -> torch.cuda.Event:
    """An event that has a time, and that the host waits for without using a core."""
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


class InFlight:
    """Keeps the tensors of a lane until the device has finished with them: pinned memory is used again afterwards.

    Once the device has failed they are kept forever, since other libraries may free theirs with calls that fail then.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[torch.cuda.Event, Any]] = deque()
        self._lock = Lock()

    def add(self, event: torch.cuda.Event, tensors: Any) -> None:
        """Keep tensors until this event has passed, at least until `release`."""
        with self._lock:
            self._entries.append((event, tensors))

    def add_failed(self, stream: torch.cuda.Stream, tensors: Any) -> None:
        """Keep tensors of a call that has failed halfway: until its stream has passed, or forever."""
        event = new_event()
        try:
            event.record(stream)
        except Exception:  # whatever a driver raises
            never_free(tensors)
            return
        self.add(event, tensors)

    def release(self) -> None:
        """Drop the tensors that the device has finished with. Raises RuntimeError if it has failed."""
        with self._lock:
            while self._entries and self._entries[0][0].query():  # type: ignore[no-untyped-call]
                self._entries.popleft()

    def __del__(self) -> None:
        """Wait for the rest, or keep it if the device has failed in the meantime."""
        try:
            for event, _ in self._entries:
                event.synchronize()
        except Exception:  # whatever a driver raises
            self.keep_forever()

    def keep_forever(self) -> None:
        """Never free the tensors, not even when the process ends: the device has failed."""
        with self._lock:
            for entry in self._entries:
                never_free(entry)
