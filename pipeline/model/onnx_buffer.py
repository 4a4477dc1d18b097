"""Fields of protocol buffers, as ONNX files consist of, so that onnx need not be installed. Independent of ONNX."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message. `value`: a number, or bytes. `raw`: all of its bytes, with its number."""

    number: int
    value: memoryview | int
    raw: memoryview

    @property
    def message(self) -> memoryview:
        """Its bytes. Raises ValueError if it has none."""
        if isinstance(self.value, memoryview):
            return self.value
        raise ValueError("not a protocol buffer")

    @property
    def text(self) -> str:
        """Its bytes as text."""
        return bytes(self.message).decode("utf-8")


def fields(data: memoryview, skipped: re.Pattern[bytes] | None = None) -> Iterator[Field]:
    """The fields of a message.

    Args:
        skipped: matches fields at the beginning of bytes that are left out, which is a hundred times as fast.

    Raises:
        ValueError: it is not a protocol buffer.
    """
    at = 0
    while at < len(data):
        if skipped is not None and (found := skipped.match(data, at)) is not None and found.end() > at:
            at = found.end()
            continue
        start = at
        tag, at = _varint(data, at)
        tag &= 0xFFFFFFFF  # as protobuf reads it
        kind = tag & 7
        if tag < 8:
            raise ValueError("not a protocol buffer")
        value: memoryview | int
        if kind == _VARINT:
            value, at = _varint(data, at)
        else:
            if kind == _BYTES:
                length, at = _varint(data, at)
            elif kind in _WIDTHS:
                length = _WIDTHS[kind]
            else:
                raise ValueError("not a protocol buffer")
            if at + length > len(data):
                raise ValueError("not a protocol buffer")
            value, at = data[at : at + length], at + length
        yield Field(tag >> 3, value, data[start:at])


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at + shift // 7 >= len(data):
            break
        byte = data[at + shift // 7]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + shift // 7 + 1
    raise ValueError("not a protocol buffer")


def integers(value: memoryview | int) -> Iterator[int]:
    """One integer, or several that are packed."""
    numbers, at = [], 0
    if isinstance(value, int):
        numbers.append(value)
    else:
        while at < len(value):
            number, at = _varint(value, at)
            numbers.append(number)
    for number in numbers:
        yield number - (1 << 64) if number >= 1 << 63 else number


def encoded(number: int, value: bytes) -> bytes:
    """A field of bytes."""
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(value)) + value


def _as_varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
