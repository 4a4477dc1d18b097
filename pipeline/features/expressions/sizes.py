"""How large the value of an expression can become: at most `times` × the bytes of the row + `plus`.

DuckDB's memory limit does not cover the values of texts (tried: `repeat('x', 2000000000)` under a limit of 512 MB), so
sizes are bounded before anything is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from ...arrow_types import is_list, is_text

#: The largest bound of an expression and of every part of it, and of all expressions of a bundle together.
MOST_TIMES, MOST_PLUS = 512, 16_384
MOST_TIMES_TOGETHER, MOST_PLUS_TOGETHER = 8_192, 131_072
#: The bytes that the values of a block may take by their bounds. Larger blocks are evaluated in parts; a row that may
#: take more alone is rejected. It is the same on every machine.
MOST_BYTES = 1 << 30
#: The sum over the rows of a statement of the squared lengths of texts that are searched again from every match.
MOST_SQUARES = 1 << 32
#: The bytes of a number, a date, or the header of a text.
SLOT = 16
#: The quotes, commas and brackets of an element or a field in a list or struct as text.
MARKS = 8
#: The largest literal length of lpad and rpad, times of repeat, and end of a range.
MOST_PADDED, MOST_REPEATED, MOST_IN_RANGE = 1_000, 100, 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """At most `times` × the bytes of the row + `plus`. As text at most `as_text` times that, and `names`: those of the
    fields of structs."""

    times: int = 0
    plus: int = SLOT
    as_text: int = 4
    names: int = 0

    def scaled(self, factor: int) -> Bound:
        """The bound of a value that is `factor` times as large."""
        return replace(self, times=self.times * factor, plus=self.plus * factor, names=self.names * factor)

    def of_elements(self, element: Bound) -> Bound:
        """The bound of a list whose elements, of at least one bit each, have become others."""
        return replace(
            self.scaled(element.times + element.plus),
            as_text=max(self.as_text, 8 * (element.names + MARKS) if element.names else element.as_text),
        )


#: A number, a date or a short text.
FIXED = Bound()
#: A text, a list or a struct of the row.
OF_ROW = Bound(times=1, plus=SLOT)
#: An element of a list, whose bytes are among those of the list.
ELEMENT = Bound(times=1, plus=0)


def together(bounds: Sequence[Bound]) -> Bound:
    """The bound of several values side by side."""
    return Bound(
        times=sum(b.times for b in bounds),
        plus=SLOT + sum(b.plus for b in bounds),
        as_text=max([4, *(b.as_text for b in bounds)]),
        names=sum(b.names for b in bounds),
    )


def largest(one: Bound, other: Bound) -> Bound:
    """A bound that holds for both."""
    return Bound(
        times=max(one.times, other.times),
        plus=max(one.plus, other.plus),
        as_text=max(one.as_text, other.as_text),
        names=max(one.names, other.names),
    )


def of_column(arrow_type: pa.DataType) -> Bound:
    """The bound of a column of the row: a text, a list or a struct."""
    times, names, _ = _as_text(arrow_type)
    return replace(OF_ROW, as_text=times, names=names)


def _as_text(arrow_type: pa.DataType) -> tuple[int, int, int]:
    """How many times larger a value becomes as text at most, the bytes of names beside that, and the fewest bits that a
    value takes."""
    if pa.types.is_struct(arrow_type):
        parts = [_as_text(field.type) for field in arrow_type]
        names = sum(len(field.name.encode()) + MARKS for field in arrow_type)
        return (
            max([8, *(times for times, _, _ in parts)]),
            names + sum(inner for _, inner, _ in parts),
            max(1, sum(bits for _, _, bits in parts)),
        )
    if is_list(arrow_type):
        times, names, bits = _as_text(arrow_type.value_type)
        return times + -(-8 * (names + MARKS) // bits), 0, 32
    varies = is_text(arrow_type) or pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type)
    return 8, 0, 32 if varies else arrow_type.bit_width
