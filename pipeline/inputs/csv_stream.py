"""The bytes of a CSV file as UTF-8 text: decompressed, decoded, with marked rows and an end mark."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import pyarrow as pa

from ..errors import PartitionError
from ..options import CsvDialect
from ..records import Partition
from ..storage.uris import is_remote, parse_uri
from .quotes import RowMarker

GZIP = b"\x1f\x8b"
#: Files that are not text, by their first bytes.
FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh91AY&SY": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"PAR1\x15": "a Parquet file",
}
#: From this many bytes, the encoding is guessed; by these marks first.
_SAMPLE_BYTES = 1 << 16
_MARKS = (
    *((mark, "utf-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((mark, "utf-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)


def open_text(partition: Partition, dialect: CsvDialect) -> pa.NativeFile:
    """The file as decompressed UTF-8."""
    stream = unpacked(partition)
    return stream if dialect.encoding == "utf-8" else pa.transcoding_input_stream(stream, dialect.encoding, "utf-8")


def unpacked(partition: Partition) -> pa.NativeFile:
    """The decompressed bytes of a file. Gzip is detected by the first bytes, not by the name."""
    file = _opened(partition)
    start = file.read(max(map(len, FOREIGN)))
    what = next((what for magic, what in FOREIGN.items() if start.startswith(magic)), None)
    if what is not None:
        file.close()
        raise PartitionError(
            f"{partition.name}: cannot be read as CSV: it is {what}; unpack or rename it", partition=partition.name
        )
    file.seek(0)
    return pa.CompressedInputStream(file, "gzip") if start.startswith(GZIP) else file


def _opened(partition: Partition) -> pa.NativeFile:
    if not is_remote(partition.path):
        return pa.OSFile(partition.path)
    from ..storage.object_stream import ObjectStream  # imports obstore

    stream = ObjectStream(parse_uri(partition.path), size=partition.size, etag=partition.etag)
    return pa.PythonFile(stream, mode="r")


def advice_on_bytes(partition: Partition, dialect: CsvDialect) -> str:
    """What to do about a file that is not text in the encoding of its dialect."""
    with unpacked(partition) as stream:
        start = beyond = stream.read(_SAMPLE_BYTES)
        while beyond.isascii() and (more := _next(stream)):
            beyond = more
        beyond += _next(stream)
    for magic, what in {GZIP: "gzip", **FOREIGN}.items():
        if start.startswith(magic):
            return f"it is {what} within gzip; unpack it"
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if marked is None and dialect.encoding in ("utf-8", "ascii"):
        marked = "utf-8" if _is_mostly_utf8(beyond) else "latin-1"
    if marked is None or marked == dialect.encoding:
        return "it is truncated or damaged there, or has another encoding; replace it"
    return f'set the encoding in the job file: [csv] encoding = "{marked}"'


def _next(stream: pa.NativeFile) -> bytes:
    """More bytes, or none where the file is damaged."""
    try:
        return bytes(stream.read(_SAMPLE_BYTES))
    except (OSError, pa.ArrowException):
        return b""


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether bytes have characters of UTF-8 beyond ASCII, and at least as many as bytes that are none."""
    beyond = [character for character in data.decode("utf-8", errors="surrogateescape") if not character.isascii()]
    wrong = sum("\udc80" <= character <= "\udcff" for character in beyond)
    return len(beyond) - wrong >= max(1, wrong)


class LongRowError(ValueError):
    """A row is longer than two blocks, or does not end."""


class MarkedText(io.RawIOBase):
    """A stream of UTF-8 with marked rows, followed by the end mark, if there is one.

    It is read in blocks of whole rows. Arrow would find the last row of a block itself, but drops the newline of a
    CRLF inside a cell where a block ends in between, and loses count of quotes after a NUL.
    """

    def __init__(self, stream: pa.NativeFile, marker: RowMarker, last_row: bytes = b"") -> None:
        super().__init__()
        self._stream = stream
        self._marker = marker
        self._last_row = last_row
        self._ended = False
        self._block = b""  # of whole rows, to be read next
        self._rest = b""  # of the row after it
        self._utf8 = Utf8Check()
        self._error: Exception | None = None
        self._reading = Lock()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next block of about `size` bytes, or all of the rest: Arrow treats each result as a block. An error ends
        the stream, and is raised by `errors`."""
        with self._reading:
            try:
                return self.next_block(size)
            except Exception as error:
                self._error = error
                self._end()
                return b""

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise the error that has ended the stream, instead of what Arrow makes of its end. Arrow's threads read
        nothing afterwards, so that the file can be closed: they read ahead.

        An error that passed through Arrow would be freed by a thread of its pool, and with it, by its traceback, the
        reader, which then waits for this thread: for ever. After eight files, all threads would.
        """
        try:
            yield
        except Exception:
            if self._error is None:
                raise
        finally:
            with self._reading:
                self._end()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # else it and this frame would keep each other, and the reader

    def _end(self) -> None:
        self._ended, self._block, self._rest = True, b"", b""

    def next_block(self, size: int) -> bytes:
        """As `read`. Raises LongRowError if a row is longer than two blocks, and whatever the stream raises."""
        if self._block:
            block, self._block = self._block, b""
            return block
        data, self._rest = self._rest, b""
        while not self._ended:
            if 0 <= 2 * size <= len(data):
                raise LongRowError
            room = (size if len(data) < size else 2 * size) - len(data)
            more = self._next(size if size < 0 else room)
            end = len(more) if self._ended else self._marker.row_end
            if end:
                self._rest = more[end:]
                return data + more[:end] if data else more[:end]
            data += more
        return data

    def whole(self, size: int) -> bytes | None:
        """All of a stream of at most `size` bytes; None for another one, which is still to be read."""
        data = self.next_block(size)
        if self._ended and len(data) <= size:
            return data
        self._block = data
        return None

    def _next(self, size: int) -> bytes:
        data = self._filled(size)
        self._ended = not 0 <= size <= len(data)
        self._utf8.check(data, last=self._ended)
        marked = self._marker.mark(data)
        if not self._ended or not self._last_row:
            return marked
        return marked + self._marker.at_end() + self._last_row + b"\n"

    def _filled(self, size: int) -> bytes:
        if size < 0:
            return bytes(self._stream.read())
        pieces, length = [], 0
        while length < size and (piece := self._stream.read(size - length)):
            pieces.append(piece)
            length += len(piece)
        pieces += self._after_cr(pieces[-1][-1:] if pieces else b"")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _after_cr(self, last: bytes) -> Iterator[bytes]:
        """The bytes after a CR, up to the first that is none: a block that is only the LF of a CRLF would be the last
        one to Arrow."""
        while last == b"\r" and (last := bytes(self._stream.read(1))):
            yield last


class Utf8Check:
    """Checks that a stream is UTF-8. Arrow checks only the columns that are read, and fails on a ragged row that is not
    UTF-8. ASCII, which most files are, is recognised at almost no cost."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._within = False

    def check(self, data: bytes, *, last: bool = False) -> None:
        """Check the next bytes. Raises UnicodeDecodeError."""
        if self._within or not data.isascii():
            self._decoder.decode(data, last)
            self._within = bool(self._decoder.getstate()[0])
