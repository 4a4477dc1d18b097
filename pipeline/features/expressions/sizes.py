"""How large the value of an expression can become: at most `times` × the bytes of the row + `plus`.

DuckDB's memory limit does not cover the values of texts (tried: `repeat('x', 2000000000)` under a limit of 512 MB), so
sizes are bounded before anything is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
#: The largest literal length of lpad and rpad, times of repeat, and end of a range.
MOST_PADDED, MOST_REPEATED, MOST_IN_RANGE = 1_000, 100, 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """At most `times` × the bytes of the row + `plus`."""

    times: int = 0
    plus: int = SLOT

    def scaled(self, factor: int) -> Bound:
        """The bound of a value that is `factor` times as large."""
        return Bound(times=self.times * factor, plus=self.plus * factor)


#: A number, a date or a short text.
FIXED = Bound()
#: A text, a list or a struct of the row.
OF_ROW = Bound(times=1, plus=SLOT)
#: An element of a list, whose bytes are among those of the list.
ELEMENT = Bound(times=1, plus=0)


def together(bounds: Sequence[Bound]) -> Bound:
    """The bound of several values side by side."""
    return Bound(times=sum(b.times for b in bounds), plus=SLOT + sum(b.plus for b in bounds))


def largest(one: Bound, other: Bound) -> Bound:
    """A bound that holds for both."""
    return Bound(times=max(one.times, other.times), plus=max(one.plus, other.plus))
