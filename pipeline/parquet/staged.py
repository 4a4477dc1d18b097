"""The parts of a remote Parquet file that are needed, in a sparse local file of the same size, so that they are read as
those of a local file are.

One request returns the end of the object with its footer, size and ETag; all later ones are for the same ETag. Column
chunks are requested by row group, neighbours together; those of the next row group are requested in the background,
and the space of earlier ones is given back. The file has no name, so nothing remains of it after a crash.
"""

import ctypes
import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from threading import Lock

import pyarrow as pa

from ..errors import StorageError
from ..storage.background import in_background
from ..storage.remote import bucket_of
from ..storage.uris import parse_uri
from .footer import TAIL_BYTES, Chunk

#: How many bytes of the end are requested first: as many as Arrow reads for the footer.
END_BYTES = 1 << 16
#: Chunks with fewer bytes between them are requested together; a request has at most this many bytes.
GAP_BYTES, REQUEST_BYTES = 1 << 20, 64 << 20
#: Old writers omit the header of the dictionary from the size of a chunk; Arrow reads this many bytes more.
SLACK_BYTES = 100
#: FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of Linux.
_PUNCH_HOLE = 1 | 2


class StagedObject:
    """An object and its sparse local file.

    Args:
        uri: of the object.
        etag: the version to read; None: the current one.

    Raises:
        OSError: from opening and from `stage`: the object cannot be read; ChangedError if it has changed.
        StorageError: the local file cannot be written.
    """

    def __init__(self, uri: str, etag: str | None = None) -> None:
        location = parse_uri(uri)
        self._bucket, self._key = bucket_of(location), location.key
        end, found = self._bucket.read_end(self._key, END_BYTES, etag=etag)
        self._etag, self._size = found.etag, found.size
        self._end = found.size - len(end)
        self._lock = Lock()
        self._closed = False
        self._staged: set[Chunk] = set()
        self._next: tuple[set[Chunk], Future[None]] | None = None
        self._descriptor, self.file = _sparse_file(found.size)
        try:
            self._write(end, self._end)
            footer = int.from_bytes(end[-TAIL_BYTES:-4], "little") + TAIL_BYTES
            if len(end) < footer <= found.size:
                start = found.size - footer
                self._fetch([range(start, self._end)])
                self._end = start
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the local file. A request that is still running ends on its own."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.file.close()
                os.close(self._descriptor)

    def stage(self, chunks: Sequence[Chunk], later: Sequence[Chunk] = ()) -> None:
        """Have the bytes of some chunks in the local file, and give back the space of all others.

        Args:
            later: the chunks that will be needed next; they are requested in the background.
        """
        wanted, ahead = set(chunks), self._next
        self._next = None
        if ahead is not None:
            ahead[1].result()
            self._staged |= ahead[0]
        if missing := wanted - self._staged:
            self._fetch(self._requests(missing))
        unused, self._staged = self._staged - wanted, wanted
        self._release(unused, wanted.union(later))
        if later:
            requests = self._requests(later)
            self._next = set(later), in_background(lambda: self._fetch(requests))

    def _requests(self, chunks: Iterable[Chunk]) -> list[range]:
        """The ranges to request for some chunks, in order."""
        extents = sorted((chunk.start, min(chunk.start + chunk.packed + SLACK_BYTES, self._end)) for chunk in chunks)
        merged: list[tuple[int, int]] = []
        for start, stop in extents:
            if not 0 <= start < stop:  # it is at the end, which is there, or has no valid place
                continue
            if merged and start - merged[-1][1] < GAP_BYTES:
                merged[-1] = merged[-1][0], max(stop, merged[-1][1])
            else:
                merged.append((start, stop))
        return [
            range(at, min(at + REQUEST_BYTES, stop))
            for start, stop in merged
            for at in range(start, stop, REQUEST_BYTES)
        ]

    def _fetch(self, requests: Iterable[range]) -> None:
        for request in requests:
            at = request.start
            pieces = self._bucket.stream(self._key, etag=self._etag or None, start=at, stop=request.stop)
            for piece in pieces:
                if not self._write(piece, at):
                    return
                at += len(piece)

    def _write(self, data: bytes | memoryview, at: int) -> bool:
        """Write bytes to the local file. Returns False if it is closed."""
        with self._lock:
            if self._closed:
                return False
            try:
                view = memoryview(data)
                while view:
                    written = os.pwrite(self._descriptor, view, at)
                    view, at = view[written:], at + written
            except OSError as error:
                raise _full(error) from error
            return True

    def _release(self, chunks: Iterable[Chunk], needed: Iterable[Chunk]) -> None:
        """Give back the space of some chunks, but for those that share bytes with others that are needed."""
        kept = self._requests(needed)
        for chunk in chunks:
            stop = min(chunk.start + chunk.packed, self._end)
            if 0 <= chunk.start < stop and not any(chunk.start < one.stop and one.start < stop for one in kept):
                _punch_hole(self._descriptor, chunk.start, stop - chunk.start)


def _sparse_file(size: int) -> tuple[int, pa.NativeFile]:
    """A local file of zeros without a name: a descriptor for writing, and the same file for reading."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="scoreline-")
        try:
            os.ftruncate(descriptor, size)
            return descriptor, pa.OSFile(path)
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            os.unlink(path)  # noqa: PTH108 - text
    except OSError as error:
        raise _full(error) from error


def _punch_hole(descriptor: int, start: int, length: int) -> None:
    """Give back the space of a range, where the system and the file system can."""
    fallocate = getattr(ctypes.CDLL(None), "fallocate", None)
    if fallocate is not None:
        fallocate(descriptor, _PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(length))


def _full(error: OSError) -> StorageError:
    return StorageError(
        f"the temporary files in {tempfile.gettempdir()!r} cannot be written: {error.strerror or error}; make room"
        " there, or set TMPDIR to another folder"
    )
