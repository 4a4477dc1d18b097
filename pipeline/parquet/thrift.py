"""A reader of Thrift's compact protocol, as used in Parquet footers and page headers. Memory is never allocated by a
declared count: each element must have at least one byte in the data.

Format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
#: Deeper than any footer, and below Python's recursion limit.
MOST_DEPTH = 32

#: What to read of a struct: by field id, what to read of the nested struct or list of structs.
#: None: read a number, or only whether the field exists.
Wanted = Mapping[int, "Wanted | None"]


def read_struct(data: bytes, at: int, wanted: "Wanted", depth: int = 0) -> tuple[dict[int, Any], int]:
    """The wanted fields of the struct at offset `at`, by id, and the offset of its end. A list of structs is read as a
    list of dicts.

    Raises:
        ValueError: the bytes are not such a struct.
        IndexError: they end within it.
    """
    if depth > MOST_DEPTH:
        raise ValueError("nested too deeply")
    found: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = signed(data, at)
        if number not in wanted:
            if I16 <= kind <= I64:
                while data[at] >= 128:
                    at += 1
                at += 1
            else:
                at = _skip_struct(data, at, depth + 1) if kind == STRUCT else _skip(data, at, kind, depth)
            continue
        inner = wanted[number]
        if I16 <= kind <= I64:
            value, shift = data[at] & 127, 7
            while data[at] >= 128:
                at += 1
                if shift > 63:
                    raise ValueError("a number of more than 64 bits")
                value |= (data[at] & 127) << shift
                shift += 7
            at += 1
            found[number] = (value >> 1) ^ -(value & 1)
        elif kind in (TRUE, FALSE):
            found[number] = kind == TRUE
        elif kind == STRUCT and inner is not None:
            found[number], at = read_struct(data, at, inner, depth + 1)
        elif kind == LIST and inner is not None:
            found[number], at = _structs(data, at, inner, depth)
        else:
            found[number], at = True, _skip(data, at, kind, depth)
    return found, at + 1


def _structs(data: bytes, at: int, wanted: "Wanted", depth: int) -> tuple[list[dict[int, Any]], int]:
    kind, count, at = list_head(data, at)
    if kind != STRUCT and count:
        raise ValueError(f"a list of type {kind} where structs were expected")
    found = []
    for _ in range(count):
        fields, at = read_struct(data, at, wanted, depth + 1)
        found.append(fields)
    return found, at


def list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """The type and the number of the elements of a list at an offset, and the offset of the first one."""
    head = data[at]
    if head >> 4 < 15:
        return head & 15, head >> 4, at + 1
    count, at = unsigned(data, at + 1)
    return head & 15, count, at


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The number at an offset, and the offset of its end. Raises what `read_struct` does."""
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while byte >= 128:
        at += 1
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
        byte = data[at]
        value |= (byte & 127) << shift
        shift += 7
    return value, at + 1


def signed(data: bytes, at: int) -> tuple[int, int]:
    """The same for a number with a sign."""
    value, at = unsigned(data, at)
    return (value >> 1) ^ -(value & 1), at


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """The offset where the value of a field ends."""
    if kind in (TRUE, FALSE):
        return at
    if kind in (LIST, SET):
        inner, count, at = list_head(data, at)
        return _skip_all(data, at, [inner], count, depth)
    if kind in (I16, I32, I64):
        while data[at] >= 128:
            at += 1
        return at + 1
    if kind == BINARY:
        length, at = unsigned(data, at)
        if at + length > len(data):
            raise IndexError("a text extends past the end")
        return at + length
    if kind == STRUCT:
        return _skip_struct(data, at, depth + 1)
    if kind == MAP:
        count, at = unsigned(data, at)
        if not count:
            return at
        kinds = data[at]
        return _skip_all(data, at + 1, [kinds >> 4, kinds & 15], count, depth)
    if kind in (BYTE, DOUBLE, UUID):
        return at + {BYTE: 1, DOUBLE: 8, UUID: 16}[kind]
    raise ValueError(f"unknown type {kind}")


def _skip_struct(data: bytes, at: int, depth: int) -> int:
    """The offset where a struct ends. Most of a footer is skipped here, so numbers and texts are skipped without a
    call."""
    if depth > MOST_DEPTH:
        raise ValueError("nested too deeply")
    while (head := data[at]) != 0:
        at += 1
        if head < 16:  # its field id follows
            while data[at] >= 128:
                at += 1
            at += 1
        kind = head & 15
        if I16 <= kind <= I64:
            while data[at] >= 128:
                at += 1
            at += 1
        elif kind == BINARY and data[at] < 128:
            at += 1 + data[at]
        elif kind == STRUCT:
            at = _skip_struct(data, at, depth + 1)
        elif kind not in (TRUE, FALSE):
            at = _skip(data, at, kind, depth)
    return at + 1


def _skip_all(data: bytes, at: int, kinds: list[int], count: int, depth: int) -> int:
    """The offset where `count` elements, or pairs of key and value, end. A bool takes a byte here."""
    if depth > MOST_DEPTH:
        raise ValueError("nested too deeply")
    if count * len(kinds) > len(data) - at:
        raise IndexError("more elements than bytes")
    if kinds == [STRUCT]:
        for _ in range(count):
            at = _skip_struct(data, at, depth + 1)
        return at
    if kinds in ([I32], [I64]):  # a number ends with a byte below 128
        for _ in range(count):
            while data[at] >= 128:
                at += 1
            at += 1
        return at
    if kinds == [BINARY]:
        for _ in range(count):
            at = at + 1 + data[at] if data[at] < 128 else _skip(data, at, BINARY, depth)
        return at
    for _ in range(count):
        for kind in kinds:
            at = at + 1 if kind in (TRUE, FALSE) else _skip(data, at, kind, depth + 1)
    return at
