"""An editor of Parquet footers: Thrift's compact protocol in both directions, so that a test can make a file
inconsistent."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Field ids of parquet.thrift.
NUM_ROWS, ROW_GROUPS = 3, 4
COLUMNS, TOTAL_BYTE_SIZE, GROUP_ROWS = 1, 2, 3
META_DATA = 3
NUM_VALUES, UNPACKED, PACKED, DATA_PAGE, DICTIONARY_PAGE = 5, 6, 7, 9, 11


@dataclass
class Struct:
    """Fields by id: their type and value."""

    fields: dict[int, tuple[int, Any]]

    def __getitem__(self, number: int) -> Any:
        return self.fields[number][1]

    def __setitem__(self, number: int, value: Any) -> None:
        self.fields[number] = (self.fields[number][0], value)


def decode(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """The struct at an offset, and the offset of its end."""

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def zigzag() -> int:
        value = varint()
        return (value >> 1) ^ -(value & 1)

    def value_of(kind: int) -> Any:
        nonlocal at
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return zigzag()
        if kind == 12:
            return struct()
        if kind == 9:
            head = data[at]
            at += 1
            count = varint() if head >> 4 == 15 else head >> 4
            return head & 15, [value_of(head & 15) for _ in range(count)]
        length = {3: 1, 7: 8}.get(kind) or varint()
        at += length
        return data[at - length : at]

    def struct() -> Struct:
        nonlocal at
        number, fields = 0, {}
        while (head := data[at]) != 0:
            at += 1
            number = number + (head >> 4) if head >> 4 else zigzag()
            fields[number] = (head & 15, value_of(head & 15))
        at += 1
        return Struct(fields)

    return struct(), at


def encode(struct: Struct) -> bytes:
    """Encode a struct to bytes."""

    def varint(value: int) -> bytes:
        found = b""
        while value > 127:
            found += bytes([value & 127 | 128])
            value >>= 7
        return found + bytes([value])

    def written(kind: int, value: Any) -> bytes:
        if kind in (1, 2):
            return b""
        if kind in (4, 5, 6):
            return varint((value << 1 ^ value >> 63) & (1 << 64) - 1)
        if kind == 12:
            return encode(value)
        if kind == 9:
            inner, items = value
            head = bytes([len(items) << 4 | inner]) if len(items) < 15 else bytes([0xF0 | inner]) + varint(len(items))
            return head + b"".join(written(inner, item) for item in items)
        return value if kind in (3, 7) else varint(len(value)) + value

    last, found = 0, b""
    for number, (kind, value) in sorted(struct.fields.items()):
        kind = kind if kind not in (1, 2) else 1 if value else 2
        found += bytes([(number - last) << 4 | kind]) + written(kind, value)
        last = number
    return found + b"\0"


def edit_footer(path: Path, change: Callable[[Struct], None]) -> None:
    """Change the footer of a file in place; bytes after it (a signature) are kept."""
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer, end = decode(data, start)
    change(footer)
    new = encode(footer) + data[end:-8]
    path.write_bytes(data[:start] + new + len(new).to_bytes(4, "little") + data[-4:])


def groups(footer: Struct) -> list[Struct]:
    """The row groups."""
    found: list[Struct] = footer[ROW_GROUPS][1]
    return found


def chunk(footer: Struct, group: int, column: int) -> Struct:
    """The metadata of a column chunk."""
    found: Struct = groups(footer)[group][COLUMNS][1][column][META_DATA]
    return found


def edit_last_page(path: Path, change: Callable[[Struct, bytes], bytes]) -> None:
    """Change the header and body of the only page of the last column of the last row group; the footer follows."""
    data = path.read_bytes()
    footer = decode(data, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))[0]
    last = chunk(footer, -1, -1)
    end = last[DATA_PAGE] + last[PACKED]
    header, at = decode(data, last[DATA_PAGE])
    body = change(header, data[at:end])
    page = encode(header) + body
    last[PACKED] = len(page)
    new = encode(footer)
    path.write_bytes(data[: last[DATA_PAGE]] + page + new + len(new).to_bytes(4, "little") + b"PAR1")
