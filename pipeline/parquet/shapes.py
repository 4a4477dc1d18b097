"""Footers of the same shape, read by one pattern. The footers of small files of one writer differ in numbers, and in
the smallest and largest values, so they need not be read field by field, which takes more than twice as long
(measured).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .thrift import (
    BINARY,
    BYTE,
    DOUBLE,
    FALSE,
    I16,
    I64,
    LIST,
    SET,
    STRUCT,
    TRUE,
    UUID,
    Wanted,
    list_head,
    read_struct,
    signed,
    unsigned,
)

#: A longer footer has many columns or row groups, and belongs to a file of which there are few.
MOST_BYTES = 1 << 14
#: How many shapes are made, and after how many footers: making one takes as long as reading a hundred footers.
MOST_SHAPES, FIRST = 4, 16
#: A longer text is not part of the shape, nor is any text in a struct that is skipped, such as the statistics.
MOST_TEXT = 64
_NUMBER = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_WIDTHS = {BYTE: 1, DOUBLE: 8, UUID: 16}


class ShapelessError(Exception):
    """The bytes contain what no pattern is made for."""


@dataclass(frozen=True, slots=True)
class FooterShape:
    """`patterns`: a text of any length is between each and the next one; each number that is wanted is a group.
    `fields`: what `read_struct` returns, with the positions of the numbers among all groups in place of these."""

    patterns: tuple[re.Pattern[bytes], ...]
    fields: dict[int, Any]

    @classmethod
    def of(cls, data: bytes, wanted: Wanted, other: bytes | None = None) -> FooterShape:
        """The shape of a struct that `read_struct` can read. Raises ShapelessError if there is none.

        Args:
            other: another such struct. A text that has the same length in both, as those of numbers in the statistics
                have, has it in the shape: one long pattern takes half the time of many.
        """
        lengths = list[int]()
        if other is not None:
            _Trace(other, lengths).struct(wanted)
        traced = _Trace(data, [], lengths)
        fields = traced.struct(wanted)
        patterns = [b"".join(tokens) for tokens in traced.pieces]
        return cls(tuple(re.compile(pattern, re.DOTALL) for pattern in patterns), fields)

    def read(self, data: bytes) -> dict[int, Any] | None:
        """The wanted fields of a struct; None if it has another shape."""
        at, numbers = 0, list[int]()
        for index, pattern in enumerate(self.patterns):
            if index and at < len(data) and data[at] < 128:
                at += 1 + data[at]
            elif index:
                try:
                    length, at = unsigned(data, at)
                except (ValueError, IndexError):
                    return None
                at += length
            if at > len(data) or (found := pattern.match(data, at)) is None:
                return None
            numbers += map(_number, found.groups())
            at = found.end()
        return _filled(self.fields, numbers)


class FooterShapes:
    """The shapes of the footers of this process, made as they appear."""

    def __init__(self) -> None:
        self._shapes: list[FooterShape] = []
        self._num_read = self._num_made = 0
        self._last: bytes | None = None

    def read(self, data: bytes, wanted: Wanted) -> dict[int, Any]:
        """The wanted fields of a footer, always with the same `wanted`. Raises what `read_struct` does."""
        if len(data) > MOST_BYTES:
            return read_struct(data, 0, wanted)[0]
        for shape in self._shapes:
            if (found := shape.read(data)) is not None:
                return found
        found = read_struct(data, 0, wanted)[0]
        self._num_read += 1
        if self._num_read > FIRST and self._num_made < MOST_SHAPES:
            self._num_made += 1
            self._add(data, wanted, found)
        self._last = data
        return found

    def _add(self, data: bytes, wanted: Wanted, found: dict[int, Any]) -> None:
        try:
            shape = FooterShape.of(data, wanted, self._last)
        except ShapelessError:
            return
        if shape.read(data) == found:
            self._shapes.append(shape)


class _Trace:
    """Reads a struct field by field, and makes the patterns that match it. `pieces`: what each is made of; `lengths`:
    of the texts that are not part of the shape, in order; `others`: of those in another struct."""

    def __init__(self, data: bytes, lengths: list[int], others: Sequence[int] = ()) -> None:
        self._data, self._at, self._count = data, 0, 0
        self._lengths, self._others = lengths, others
        self.pieces: list[list[bytes]] = [[]]

    def struct(self, wanted: Wanted | None, *, texts: bool = True) -> dict[int, Any]:
        """A struct. `wanted`: None to skip it; `texts`: whether short texts are part of the shape."""
        found, number, data = dict[int, Any](), 0, self._data
        while (head := data[self._at]) != 0:
            self._literal(1)
            number += head >> 4
            if not head >> 4:
                number, end = signed(data, self._at)
                self._literal(end - self._at)
            kind = head & 15
            inner = None if wanted is None else wanted.get(number)
            if wanted is None or number not in wanted:
                self._value(kind, texts=texts and kind != STRUCT)
            elif I16 <= kind <= I64:
                found[number] = self._wanted_number()
            elif kind == STRUCT and inner is not None:
                found[number] = self.struct(inner)
            elif kind == LIST and inner is not None:
                found[number] = self._structs(inner)
            else:
                raise ShapelessError
        self._literal(1)
        return found

    def _structs(self, wanted: Wanted) -> list[dict[int, Any]]:
        kind, count = self._list_head()
        if kind != STRUCT:
            raise ShapelessError
        return [self.struct(wanted) for _ in range(count)]

    def _list_head(self) -> tuple[int, int]:
        kind, count, end = list_head(self._data, self._at)
        self._literal(end - self._at)
        return kind, count

    def _value(self, kind: int, *, texts: bool, alone: bool = True) -> None:
        """A value that is skipped. `alone`: whether it is a field: bools among others have a byte."""
        if I16 <= kind <= I64:
            self._number(_NUMBER)
        elif kind == BINARY:
            self._text(literal=texts)
        elif kind == STRUCT:
            self.struct(None, texts=texts)
        elif kind in (LIST, SET):
            inner, count = self._list_head()
            for _ in range(count):
                self._value(inner, texts=texts, alone=False)
        elif kind in (TRUE, FALSE):
            self._any(0 if alone else 1)
        elif kind in _WIDTHS:
            self._any(_WIDTHS[kind])
        else:
            raise ShapelessError

    def _text(self, *, literal: bool) -> None:
        length, start = unsigned(self._data, self._at)
        if literal and length <= MOST_TEXT:
            self._literal(start + length - self._at)
            return
        at = len(self._lengths)
        self._lengths.append(length)
        if at < len(self._others) and length == self._others[at] <= MOST_TEXT:
            self._literal(start - self._at)
            self._any(length)
        else:
            self._at = start + length
            self.pieces.append([])

    def _wanted_number(self) -> int:
        self._number(b"(" + _NUMBER + b")")
        self._count += 1
        return self._count - 1

    def _literal(self, length: int) -> None:
        self.pieces[-1].append(re.escape(self._data[self._at : self._at + length]))
        self._at += length

    def _any(self, length: int) -> None:
        self.pieces[-1].append(b".{%d}" % length)
        self._at += length

    def _number(self, pattern: bytes) -> None:
        self.pieces[-1].append(pattern)
        while self._data[self._at] >= 128:
            self._at += 1
        self._at += 1


def _filled(fields: dict[int, Any], numbers: list[int]) -> dict[int, Any]:
    """Fields with numbers in place of their positions."""
    return {
        number: numbers[value]
        if isinstance(value, int)
        else _filled(value, numbers)
        if isinstance(value, dict)
        else [_filled(one, numbers) for one in value]
        for number, value in fields.items()
    }


@lru_cache(maxsize=1 << 12)
def _number(digits: bytes) -> int:
    return signed(digits, 0)[0]
