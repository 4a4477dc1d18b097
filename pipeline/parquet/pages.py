"""The headers of a column chunk's pages: their unpacked sizes, and how large a single value may be.

The footer of a file need not be true, and Arrow allocates as much memory as the header of a page declares. Therefore
the headers of chunks that could fill the memory are read first; each has a few bytes. The pages themselves are not
read.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from ..errors import PartitionError, counted
from .footer import MOST_TIMES, MOST_UNPACKED_BYTES, Chunk, inconsistent_footer
from .thrift import Wanted, read_struct

#: The largest unpacked size of a page.
MOST_PAGE_BYTES = 1 << 30
#: The largest compression ratio by codec number; for other codecs it is unbounded.
_MOST_RATIO = {0: 1, 1: 22, 2: 1032, 5: 256, 7: 256}
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADER: Wanted = {1: None, 2: None, 3: None, 5: {1: None, 2: None}, 7: {1: None}, 8: {1: None, 4: None}}
_HEAD_BYTES, _MOST_HEAD_BYTES = 256, 16 << 20
#: Old writers omit the header of the dictionary from the size of a chunk; Arrow tolerates the same difference.
_SLACK_BYTES = 100
#: Encodings whose values refer to a dictionary, or to the previous value.
_BY_DICTIONARY, _BY_PREFIX = (2, 8), 7
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Page:
    """A page. `values`: the number of values, for data pages; `size`: the unpacked bytes; `body`, `packed`: the offset
    and number of the packed bytes."""

    kind: int
    values: int
    size: int
    encoding: int
    body: int
    packed: int

    @property
    def is_dictionary(self) -> bool:
        """Whether it is a dictionary page."""
        return self.kind == _DICTIONARY

    @property
    def by_dictionary(self) -> bool:
        """Whether its values refer to the dictionary."""
        return self.encoding in _BY_DICTIONARY

    @property
    def by_prefix(self) -> bool:
        """Whether its values share a prefix with the previous value."""
        return self.encoding == _BY_PREFIX


def may_overflow(chunk: Chunk) -> bool:
    """Whether a chunk of this size can contain a page that must be refused."""
    ratio = _MOST_RATIO.get(chunk.codec)
    return ratio is None or chunk.packed * ratio > MOST_UNPACKED_BYTES * (1 if ratio > MOST_TIMES else 4)


def read_pages(file: BinaryIO, chunk: Chunk, *, name: str, where: str) -> list[Page]:
    """The pages of a chunk.

    Raises:
        PartitionError: a page is too large when unpacked or has no valid header, or the pages have another number of
            values than the chunk declares.
    """
    found, at, values = [], chunk.start, 0
    end = chunk.start + chunk.packed
    if chunk.start < 0 or chunk.packed < 0:
        raise inconsistent_footer(name, f"{where} begins at {chunk.start:,} and has {chunk.packed:,} bytes")
    if chunk.start == 0 and not chunk.values:  # a row group without rows
        return []
    while at < end or (values < chunk.values and at < end + _SLACK_BYTES):
        page = _page(file, at, name=name, where=where)
        if page.size > MOST_PAGE_BYTES or (
            page.size > MOST_UNPACKED_BYTES and page.size > MOST_TIMES * max(1, page.packed)
        ):
            raise PartitionError(
                f"{name}: a page of {where} declares that {page.packed:,} bytes unpack to {page.size:,}, which would"
                " fill the memory; write the file again",
                partition=name,
            )
        if not page.is_dictionary:
            values += page.values
        found.append(page)
        at = page.body + page.packed
    if values != chunk.values:
        raise inconsistent_footer(
            name, f"{where} declares {counted(chunk.values, 'value')}, but its pages have {values:,}"
        )
    return found


def _page(file: BinaryIO, at: int, *, name: str, where: str) -> Page:
    size = _HEAD_BYTES
    while True:
        file.seek(at)
        data = file.read(size)
        try:
            header, length = read_struct(data, 0, _HEADER)
            break
        except IndexError as error:
            if len(data) < size or size >= _MOST_HEAD_BYTES:
                raise _bad_header(name, where, error) from error
            size *= 16
        except ValueError as error:
            raise _bad_header(name, where, error) from error
    details = header.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(header.get(1, -1), 0), {})
    page = Page(
        kind=header.get(1, -1),
        values=_number(details, 1),
        size=_number(header, 2),
        encoding=_number(details, 4 if header.get(1) == _DATA_V2 else 2),
        body=at + length,
        packed=_number(header, 3),
    )
    if min(page.values, page.size, page.packed) < 0:
        raise _bad_header(name, where, ValueError("a size is negative"))
    return page


def _number(fields: Any, number: int) -> int:
    found = fields.get(number, 0) if isinstance(fields, dict) else 0
    return int(found)


def _bad_header(name: str, where: str, error: Exception) -> PartitionError:
    return PartitionError(
        f"{name}: cannot be read as Parquet: a page of {where} has no readable header: {error}", partition=name
    )


def longest_value(file: BinaryIO, chunk: Chunk, page: Page, *, enough: int) -> int:
    """The length of the longest text in a dictionary page, or an upper bound of it that is at most `enough`."""
    bound = max(0, page.size - 4 * page.values)
    if bound <= enough:
        return bound
    file.seek(page.body)
    data: Any = file.read(page.packed)
    if chunk.codec:
        if chunk.codec not in _CODECS:
            return bound
        try:
            data = pa.decompress(data, decompressed_size=page.size, codec=_CODECS[chunk.codec], asbytes=True)
        except (OSError, pa.ArrowException, ValueError):  # Arrow's reader will report the error
            return bound
    return _longest(data, page.values)


def _longest(data: bytes, count: int) -> int:
    """The length of the longest of `count` texts, each preceded by its length in four bytes."""
    first = int.from_bytes(data[:4], "little")
    if len(data) == count * (4 + first):  # such as ids: they may all have the same length
        lengths = np.frombuffer(data, dtype=np.uint8).reshape(count, 4 + first)[:, :4]
        if (lengths == lengths[0]).all():
            return first
    longest, at, last, length_at = 0, 0, len(data) - 4, _LENGTH.unpack_from
    for _ in range(count):
        if at > last:
            break
        (length,) = length_at(data, at)
        longest = length if length > longest else longest
        at += 4 + length
    return longest
