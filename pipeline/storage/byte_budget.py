"""A number of bytes that several threads share. Independent of what they do with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class ByteBudget:
    """Bytes that may be taken at once; whoever takes more than there are takes all of them.

    Args:
        total: how many there are.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = Condition()
        self._entrance = Lock()

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Hold some bytes, once there are as many. In the order of the calls, so that many small ones do not keep a
        large one waiting."""
        size = min(size, self._total)
        with self._entrance, self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
