"""The bytes of a CSV as text: unpacked, decoded to UTF-8, with marked rows and a row that marks the end."""

import codecs
import io

import pyarrow as pa

from ..errors import PartitionError
from ..options import CsvDialect
from ..records import Partition
from .quotes import RowMarker

GZIP = b"\x1f\x8b"
#: What is no text, by its first bytes.
FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"BZh91AY&SY": "packed with bzip2",
    b"\xfd7zXZ\x00": "packed with xz",
    b"PAR1\x15": "a Parquet file",
}


def open_text(partition: Partition, dialect: CsvDialect) -> pa.NativeFile:
    """The file as UTF-8, unpacked."""
    stream = unpacked(partition)
    return stream if dialect.encoding == "utf-8" else pa.transcoding_input_stream(stream, dialect.encoding, "utf-8")


def unpacked(partition: Partition) -> pa.NativeFile:
    """The bytes of the file: whether it is packed its first ones say, whatever its name."""
    with pa.input_stream(partition.path, compression=None) as file:
        start = file.read(max(map(len, FOREIGN)))
    what = next((what for magic, what in FOREIGN.items() if start.startswith(magic)), None)
    if what is not None:
        raise PartitionError(
            f"{partition.name}: cannot be read as CSV: it is {what}; unpack or rename it", partition=partition.name
        )
    return pa.input_stream(partition.path, compression="gzip" if start.startswith(GZIP) else None)


def has_utf16_mark(partition: Partition) -> bool:
    with unpacked(partition) as stream:
        return bool(stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


class MarkedText(io.RawIOBase):
    """A stream of UTF-8 with its marked rows, and behind it the row that marks its end, where there is one."""

    def __init__(self, stream: pa.NativeFile, marker: RowMarker, last_row: bytes = b"") -> None:
        super().__init__()
        self._stream = stream
        self._marker = marker
        self._last_row = last_row
        self._ended = False
        self._rest = b""
        self._utf8 = Utf8Check()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """As `RawIOBase.read`, but never short before the end, since Arrow takes what it gets for a block."""
        data, self._rest = self._rest, b""
        while not self._ended and (size < 0 or len(data) < size):
            more = self._next(size if size < 0 else size - len(data))
            data = data + more if data else more
        if 0 <= size < len(data):
            data, self._rest = data[:size], data[size:]
        return data

    def _next(self, size: int) -> bytes:
        data = self._filled(size)
        self._ended = not 0 <= len(data) == size
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
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Utf8Check:
    """Watches that a stream is UTF-8. Arrow would see it only in the columns that are read, and stumble over a ragged
    row that is not. Nearly all of most files is ASCII, which costs nothing to see."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._within = False

    def check(self, data: bytes, *, last: bool = False) -> None:
        """Raises UnicodeDecodeError."""
        if self._within or not data.isascii():
            self._decoder.decode(data, last)
            self._within = bool(self._decoder.getstate()[0])
