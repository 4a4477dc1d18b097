"""The reader of Thrift's compact protocol, tested with an encoder that follows the specification."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.parquet.thrift import I32, I64, LIST, MOST_DEPTH, STRUCT, read_struct

BINARY_TYPE, TRUE_TYPE, FALSE_TYPE = 8, 1, 2


def varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first."""
    found = b""
    while value >= 128:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def zigzag(value: int) -> bytes:
    """0, −1, 1, −2 … as 0, 1, 2, 3 …"""
    return varint(value * 2 if value >= 0 else -value * 2 - 1)


def encoded(fields: dict[int, Any]) -> bytes:
    """A struct of integers, texts, booleans, structs and lists of structs, by their field ids."""
    data, before = b"", 0
    for number, value in sorted(fields.items()):
        if isinstance(value, bool):
            kind, body = (TRUE_TYPE if value else FALSE_TYPE), b""
        elif isinstance(value, int):
            kind, body = I64, zigzag(value)
        elif isinstance(value, bytes):
            kind, body = BINARY_TYPE, varint(len(value)) + value
        elif isinstance(value, dict):
            kind, body = STRUCT, encoded(value)
        else:
            head = bytes([len(value) << 4 | STRUCT]) if len(value) < 15 else bytes([0xF0 | STRUCT]) + varint(len(value))
            kind, body = LIST, head + b"".join(map(encoded, value))
        step = number - before
        data += (bytes([step << 4 | kind]) if step < 16 else bytes([kind]) + zigzag(number)) + body
        before = number
    return data + b"\0"


integers = st.integers(-(2**63), 2**63 - 1)
leaves = integers | st.booleans() | st.binary(max_size=200)
numbers = st.integers(1, 60)
structs = st.recursive(
    st.dictionaries(numbers, leaves, max_size=4),
    lambda inner: st.dictionaries(numbers, leaves | inner | st.lists(inner, max_size=20), max_size=4),
    max_leaves=12,
)


def wanted_of(fields: dict[int, Any]) -> dict[int, Any]:
    """The `wanted` argument that reads everything."""
    found: dict[int, Any] = {}
    for number, value in fields.items():
        if isinstance(value, dict):
            found[number] = wanted_of(value)
        elif isinstance(value, list):
            found[number] = {key: inner for one in value for key, inner in wanted_of(one).items()}
        else:
            found[number] = None
    return found


def as_read(value: Any, wanted: Any) -> Any:
    """The expected result: integers and booleans unchanged, True for a text."""
    if isinstance(value, dict):
        return {number: as_read(inner, wanted[number]) for number, inner in value.items() if number in wanted}
    if isinstance(value, list):
        return [as_read(one, wanted) for one in value]
    return True if isinstance(value, bytes) else value


flat = st.dictionaries(numbers, leaves | st.lists(st.dictionaries(numbers, integers, max_size=4), max_size=20))


@given(flat)
def test_wanted_fields_are_read(fields: dict[int, Any]) -> None:
    """With any ids, and lists of any length."""
    wanted = wanted_of(fields)
    data = encoded(fields)
    found, end = read_struct(data + b"more", 0, wanted)
    assert found == as_read(fields, wanted)
    assert end == len(data)


@given(structs, st.integers(-(2**31), 2**31 - 1))
def test_other_fields_are_skipped(fields: dict[int, Any], number: int) -> None:
    """At any nesting, the field after them is found."""
    data = encoded({**fields, 61: number})
    assert read_struct(data, 0, {61: None}) == ({61: number}, len(data))


@given(structs, st.data())
def test_a_truncated_struct_is_an_error(fields: dict[int, Any], data: st.DataObject) -> None:
    """Missing values are never made up."""
    whole = encoded(fields)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises((IndexError, ValueError)):
        read_struct(cut, 0, {})


def test_memory_is_not_allocated_by_declared_counts() -> None:
    """A list of 2^62 elements in a dozen bytes, and one nested deeper than any footer."""
    huge = bytes([0x19, 0xF0 | I32]) + varint(1 << 62) + b"\0"
    with pytest.raises(IndexError, match="more elements than bytes"):
        read_struct(huge, 0, {})
    deep = bytes([0x10 | STRUCT]) * (MOST_DEPTH + 5) + b"\0" * (MOST_DEPTH + 6)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_struct(deep, 0, {})
    endless = bytes([0x10 | I64]) + b"\xff" * 20
    with pytest.raises((ValueError, IndexError)):
        read_struct(endless, 0, {1: None})
