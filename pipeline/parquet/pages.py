"""The headers of a column chunk's pages: what they claim to unpack to, and how large a single value may be.

A footer may say of a chunk whatever it likes, and Arrow allocates what the header of a page says. So the headers of
chunks that could fill the memory are read first, each in a few bytes; their pages are not.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from ..errors import PartitionError
from .footer import MOST_TIMES, MOST_UNPACKED_BYTES, Chunk, lies
from .thrift import Wanted, read_struct

#: What a page may unpack to.
MOST_PAGE_BYTES = 1 << 30
#: How many times its size the bytes of a page can be, by the number of their codec: for the others there is no bound.
_MOST_RATIO = {0: 1, 1: 22, 2: 1032, 5: 256, 7: 256}
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADER: Wanted = {1: None, 2: None, 3: None, 5: {1: None, 2: None}, 7: {1: None}, 8: {1: None, 4: None}}
_HEAD_BYTES, _MOST_HEAD_BYTES = 256, 16 << 20
#: Chunks of old writers are longer than they say, by the header of a dictionary; Arrow allows for as much.
_SLACK_BYTES = 100
#: Encodings of values that repeat what stands elsewhere: in the dictionary, or in the value before.
_BY_DICTIONARY, _BY_PREFIX = (2, 8), 7
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Page:
    """`values`: how many, of the data pages; `size`: its bytes, unpacked; `body`, `packed`: where they are."""

    kind: int
    values: int
    size: int
    encoding: int
    body: int
    packed: int

    @property
    def is_dictionary(self) -> bool:
        """Whether it holds the values that others name by their number."""
        return self.kind == _DICTIONARY

    @property
    def by_dictionary(self) -> bool:
        """Whether its values stand in the dictionary."""
        return self.encoding in _BY_DICTIONARY

    @property
    def by_prefix(self) -> bool:
        """Whether its values repeat the beginning of the one before."""
        return self.encoding == _BY_PREFIX


def may_overflow(chunk: Chunk) -> bool:
    """Whether its bytes can hold a page that is to be refused."""
    ratio = _MOST_RATIO.get(chunk.codec)
    return ratio is None or chunk.packed * ratio > MOST_UNPACKED_BYTES * (1 if ratio > MOST_TIMES else 4)


def read_pages(file: BinaryIO, chunk: Chunk, *, name: str, where: str) -> list[Page]:
    """The pages of a chunk.

    Raises:
        PartitionError: one claims to unpack to more than a page may, or is none; or they hold other values than the
            chunk says.
    """
    found, at, values = [], chunk.start, 0
    end = chunk.start + chunk.packed
    if chunk.start < 0 or chunk.packed < 0:
        raise lies(name, f"{where} lies at {chunk.start:,}, {chunk.packed:,} bytes long")
    if chunk.start == 0 and not chunk.values:  # a row group without rows
        return []
    while at < end or (values < chunk.values and at < end + _SLACK_BYTES):
        page = _page(file, at, name=name, where=where)
        if page.size > MOST_PAGE_BYTES or (
            page.size > MOST_UNPACKED_BYTES and page.size > MOST_TIMES * max(1, page.packed)
        ):
            raise PartitionError(
                f"{name}: a page of {where} says that {page.packed:,} bytes unpack to {page.size:,}; a file like that"
                " would fill the memory, so it is not read",
                partition=name,
            )
        if not page.is_dictionary:
            values += page.values
        found.append(page)
        at = page.body + page.packed
    if values != chunk.values:
        raise lies(name, f"{where} says that it has {chunk.values:,} values, and its pages {values:,}")
    return found


def _page(file: BinaryIO, at: int, *, name: str, where: str) -> Page:
    size = _HEAD_BYTES
    while True:
        file.seek(at)
        data = file.read(size)
        try:
            said, length = read_struct(data, 0, _HEADER)
            break
        except IndexError as error:
            if len(data) < size or size >= _MOST_HEAD_BYTES:
                raise _no_page(name, where, error) from error
            size *= 16
        except ValueError as error:
            raise _no_page(name, where, error) from error
    about = said.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(said.get(1, -1), 0), {})
    page = Page(
        kind=said.get(1, -1),
        values=_number(about, 1),
        size=_number(said, 2),
        encoding=_number(about, 4 if said.get(1) == _DATA_V2 else 2),
        body=at + length,
        packed=_number(said, 3),
    )
    if min(page.values, page.size, page.packed) < 0:
        raise _no_page(name, where, ValueError("it has fewer than no bytes"))
    return page


def _number(fields: Any, number: int) -> int:
    found = fields.get(number, 0) if isinstance(fields, dict) else 0
    return int(found)


def _no_page(name: str, where: str, error: Exception) -> PartitionError:
    return PartitionError(
        f"{name}: cannot be read as Parquet: a page of {where} has no readable header: {error}", partition=name
    )


def longest_value(file: BinaryIO, chunk: Chunk, page: Page, *, enough: int) -> int:
    """The most bytes that a text in a dictionary has, or a bound on it that is no more than `enough`."""
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
        except (OSError, pa.ArrowException, ValueError):  # Arrow's reader will say what is wrong with it
            return bound
    return _longest(data, page.values)


def _longest(data: bytes, count: int) -> int:
    """The longest of so many texts, each behind its length in four bytes."""
    first = int.from_bytes(data[:4], "little")
    if len(data) == count * (4 + first):  # ids and the like: all of them may be as long
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
