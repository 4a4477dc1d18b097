"""An object as a file that is read from its start to its end, in requests of a few MiB, one ahead of the reader."""

import io
from concurrent.futures import Future

from .background import in_background
from .remote import bucket_of
from .uris import Location

#: The bytes of the first request, which is often the only one, and of later ones.
FIRST_BYTES, WINDOW_BYTES = 1 << 20, 8 << 20


class ObjectStream(io.RawIOBase):
    """The bytes of an object, all of one version. Two windows are in memory at a time.

    Args:
        size, etag: the version to read, as a listing says; without an ETag, the current one, which takes a request.

    Raises:
        OSError: from opening and reading; ChangedError if the object no longer has the ETag.
    """

    def __init__(self, location: Location, *, size: int = 0, etag: str | None = None) -> None:
        super().__init__()
        self._bucket, self._key = bucket_of(location), location.key
        if etag is None:
            found = self._bucket.head(self._key)
            size, etag = found.size, found.etag
        self._size, self._etag = size, etag
        self._position = self._start = 0
        self._window = b""
        self._next: Future[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position. Moving within the window that was read last takes no request."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes (below 0: all to the end); fewer at the end of a window."""
        if size < 0:
            return self.readall()
        if not self._start <= self._position < self._start + len(self._window):
            self._advance()
        at = self._position - self._start
        data = self._window[at : at + size]
        self._position += len(data)
        return data

    def _advance(self) -> None:
        """Make the window the one that begins at the position, and request the next one."""
        follows, ahead = self._position == self._start + len(self._window), self._next
        self._next = None
        self._start, self._window = self._position, b""  # free before the next one is there
        self._window = ahead.result() if ahead is not None and follows else self._fetch(self._start)
        stop = self._start + len(self._window)
        if self._start and stop < self._size:  # the header of a file is in its first window
            self._next = in_background(lambda: self._fetch(stop))

    def _fetch(self, start: int) -> bytes:
        stop = min(self._size, start + (WINDOW_BYTES if start else FIRST_BYTES))
        return self._bucket.read(self._key, etag=self._etag, start=start, stop=stop) if start < stop else b""
