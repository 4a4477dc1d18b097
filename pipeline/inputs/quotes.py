"""Marks the rows of a CSV file whose quotes or escapes are ambiguous: appends cells to them, so that the parser reports
them as ragged rows, with their row numbers. Independent of Arrow.

Rows and quoted cells begin and end as in Arrow's parser: a quote opens a cell only as its first character, a quote
inside it closes it unless another quote follows, and an escaped character has no special meaning. So after each run of
adjacent quotes the state is either inside or outside a quoted cell, and a run changes it by its length and by whether
it begins a cell. The states are therefore computed as a cumulative sum, without a loop over rows.
"""

import codecs
import secrets
import string

import numpy as np
from numpy.typing import NDArray

from ..options import CsvDialect

#: A byte without special meaning in any dialect.
FILLER = 0
LINE_ENDS = b"\n\r"
#: What is wrong with a marked row.
AFTER_QUOTE, BARE_AFTER_LINES, ESCAPED = range(3)
REASONS = (
    "has text after a closing quote",
    "has a quoted cell over several lines, and after it a quote inside an unquoted cell",
    "has an escape before a character that needs none",
)
Positions = NDArray[np.int64]
#: A bit for each byte of a block.
Words = NDArray[np.uint64]


class RowMarker:
    """Marks rows in consecutive blocks of UTF-8.

    A row is marked for one of these reasons: it has text after a closing quote (`"Best" product`); it has a quoted cell
    that spans lines and after it a quote in an unquoted cell, as when a stray quote has swallowed the rows up to a
    quoted cell that begins with a delimiter; or it has an escape before a character that is neither quote, delimiter,
    escape nor newline, which some readers drop and others keep.
    """

    def __init__(self, dialect: CsvDialect, columns: int) -> None:
        special = dialect.delimiter + dialect.quote + dialect.escape
        letters = [letter for letter in string.ascii_letters if letter not in special]
        #: Random, so that no file contains it.
        self._token = "".join(letters[byte % len(letters)] for byte in secrets.token_bytes(16))
        self._kinds = letters[: len(REASONS)]
        self._delimiter = dialect.delimiter.encode()
        self._columns = columns
        self._quote = dialect.quote.encode()
        self._escape = dialect.escape.encode()
        self._separates = np.zeros(256, dtype=bool)
        self._separates[list(self._delimiter + LINE_ENDS)] = True
        self._may_follow_escape = np.zeros(256, dtype=bool)
        # writers also escape the default quote if the dialect has none
        self._may_follow_escape[list((self._quote or b'"') + self._delimiter + self._escape + b"\n")] = True
        #: The shortest bytes that leave the parser in the same state as all bytes so far.
        self._context = b"\n"
        self._at_start = True
        #: Reused for all blocks: allocating arrays for each block costs more in page faults than the computation.
        self._scratch = np.zeros((2, 0), dtype=bool)
        #: How far the last row that ends in the last block reaches, in the bytes that were returned; 0 if none ends.
        self.row_end = 0
        # state of the row that has not ended yet
        self._kind: int | None = None
        self._has_lines = False

    def mark(self, data: bytes) -> bytes:
        """Return the next block with a mark at the end of every ambiguous row that ends in it."""
        if self._at_start and data:
            self._at_start = False
            if data.startswith(codecs.BOM_UTF8):
                marked = self.mark(data[len(codecs.BOM_UTF8) :])
                self.row_end += len(codecs.BOM_UTF8) if self.row_end else 0
                return codecs.BOM_UTF8 + marked
        if not data or self._is_plain(data):
            self._context = data[-1:] or self._context
            self.row_end = _last_line_end(data) + 1
            return data
        return self._marked(data)

    def at_end(self) -> bytes:
        """The bytes to append after the last block: the mark of the last row, if any, and a missing line end."""
        mark = b"" if self._kind is None else self._mark(self._kind)
        return mark + (b"" if self._context in (b"\n", b"\r") else b"\n")

    @property
    def ends_in_escape(self) -> bool:
        """Whether the last character is an unescaped escape."""
        return bool(self._escape) and self._context.endswith(self._escape)

    def reason(self, text: str) -> str | None:
        """What is wrong with a marked row, and its text before the mark; None if it has no mark."""
        before, mark, rest = text.partition(self._token)
        if not mark:
            return None
        row = before.removesuffix(self._delimiter.decode())
        kind = self._kinds.index(rest[0])
        hint = ' (if backslashes are escapes, set in the job file: [csv] escape = "\\\\")'
        may_escape = kind == AFTER_QUOTE and not self._escape and "\\" + self._quote.decode() in row
        return f"{REASONS[kind]}{hint if may_escape else ''}: {row}"

    def _mark(self, kind: int) -> bytes:
        word = (self._token + self._kinds[kind]).encode()
        return self._delimiter + word + self._delimiter * self._columns

    def _is_plain(self, data: bytes) -> bool:
        """Whether no row in a block can need a mark: neither it nor the current row contains a quote or an escape."""
        if self._kind is not None or self._has_lines:
            return False
        special = [one for one in (self._quote, self._escape) if one]
        return not any(one in data or one in self._context for one in special)

    def _marked(self, data: bytes) -> bytes:
        block = np.frombuffer(data, np.uint8)
        wrong, open_escape = np.zeros(0, dtype=np.int64), False
        if self._escape:
            text, wrong, open_escape = self._without_escaped(np.frombuffer(self._context + data, np.uint8))
            block = text[len(self._context) :]
            self._context = self._context.removesuffix(self._escape)
            wrong = wrong - (len(text) - len(block))
        may_be_clean = self._kind is None and not len(wrong) and bool(self._quote)
        clean = may_be_clean and self._is_clean(block, block.tobytes() if self._escape else data)
        marked = data if clean else self._inspected(block, data, wrong)
        if open_escape:
            self._context += self._escape
        return marked

    def _is_clean(self, block: NDArray[np.uint8], same: bytes) -> bool:
        """Whether every quote of a block is where a CSV writer puts it. If so, updates the context.

        Counting from the start, every odd quote must begin a cell or directly follow another quote, and every even
        quote must end a cell or directly precede another. Then the parity of quotes equals the state of the parser.
        Computed on words of 64 positions, ten times as fast as on lists of positions. `same`: the block as bytes.
        """
        quote, size = self._quote[0], len(block)
        may_close = self._context.endswith(self._quote)
        if may_close and not (self._separates[block[0]] or block[0] == quote):
            return False
        if self._scratch.shape[1] < size:
            self._scratch = np.zeros((2, size), dtype=bool)
        found, apart = self._scratch[:, :size]
        quotes = _packed(np.equal(block, quote, out=found))
        np.equal(block, self._delimiter[0], out=apart)
        for line_end in LINE_ENDS:
            apart |= np.equal(block, line_end, out=found)
        beside = _packed(apart)
        beside |= quotes
        beside[size >> 6] |= np.uint64(1 << (size & 63))  # the byte after the block is checked with the next block
        before, after = beside << np.uint64(1), beside >> np.uint64(1)
        before[0] |= np.uint64(may_close or self._separates[self._context[-1]])
        before[1:] |= beside[:-1] >> np.uint64(63)
        after[:-1] |= beside[1:] << np.uint64(63)
        inside = _running_parity(quotes, start=self._context.count(self._quote) % 2 == 1)
        before ^= after  # becomes: before if inside, else after
        before &= inside
        before ^= after
        if np.any(np.bitwise_and(quotes, np.invert(before, out=before), out=before)):
            return False

        def is_inside(position: int) -> bool:
            return bool(inside[position >> 6] >> np.uint64(position & 63) & np.uint64(1))

        line_end = _last_line_end(same)
        if line_end >= 0:  # otherwise the row has not ended
            self._has_lines = is_inside(line_end)
        if line_end >= 0 and self._has_lines:
            outside = np.unpackbits(inside.view(np.uint8), bitorder="little")[:size] == 0
            ends = np.flatnonzero(outside & ((block == LINE_ENDS[0]) | (block == LINE_ENDS[1])))
            line_end = int(ends[-1]) if len(ends) else -1
        self.row_end = line_end + 1
        self._context = self._context_after(block, is_inside=is_inside(size - 1), may_close=block[-1] == quote)
        return True

    def _inspected(self, block: NDArray[np.uint8], data: bytes, wrong: Positions) -> bytes:
        """Mark any block."""
        text = np.concatenate((np.frombuffer(self._context, np.uint8), block))
        start, stop = _runs(text, self._quote)
        begins = self._separates[text[start - 1]]
        inside = _inside(begins, ((stop - start) & 1) == 1)
        was_inside = np.concatenate(([False], inside[:-1]))[: len(inside)]
        closes = ~inside & (was_inside | begins)
        is_open = bool(len(stop)) and int(stop[-1]) == len(text)  # the next character is in the next block
        followed = stop[closes & (stop < len(text))]
        after = followed[~self._separates[text[followed]]]
        bare = start[~was_inside & ~begins]
        breaks = np.flatnonzero((text == LINE_ENDS[0]) | (text == LINE_ENDS[1]))
        breaks = breaks[breaks >= len(self._context)]
        within = np.concatenate(([False], inside))[np.searchsorted(start, breaks)]
        wrong = wrong + len(self._context)
        kinds = self._kinds_by_row(breaks[~within], lines=breaks[within], after=after, bare=bare, wrong=wrong)
        ends = breaks[~within] - len(self._context)
        marked = self._inserted(data, ends, kinds)
        self.row_end = int(ends[-1]) + 1 + len(marked) - len(data) if len(ends) else 0
        self._context = self._context_after(
            text, is_inside=bool(len(inside)) and bool(inside[-1]), may_close=is_open and bool(closes[-1])
        )
        return marked

    def _without_escaped(self, text: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Positions, bool]:
        """The text with escaped characters replaced by fillers; the positions of those that need no escape; whether the
        last character is an escape without its character."""
        start, stop = _runs(text, self._escape)
        escaped = stop[((stop - start) & 1) == 1]
        is_open = bool(len(escaped)) and int(escaped[-1]) == len(text)
        escaped = escaped[: len(escaped) - is_open]
        wrong = escaped[~self._may_follow_escape[text[escaped]]]
        filled = text.copy()
        filled[escaped] = FILLER
        return filled, wrong, is_open

    def _kinds_by_row(
        self, ends: Positions, *, lines: Positions, after: Positions, bare: Positions, wrong: Positions
    ) -> dict[int, int]:
        """What is wrong with the rows that end at `ends`, by row. Keeps the state of the row after them.

        Args:
            lines: line ends inside quoted cells.
            after: text after closing quotes.
            bare: quotes inside unquoted cells.
            wrong: escaped characters that need no escape.
        """
        last = len(ends)
        begins = np.concatenate(([-1], ends))
        row = np.searchsorted(ends, bare)
        lines_before = np.searchsorted(lines, bare) - np.searchsorted(lines, begins[row])
        after_lines = row[(lines_before > 0) | (self._has_lines & (row == 0))]
        kinds = dict.fromkeys(np.searchsorted(ends, wrong).tolist(), ESCAPED)
        kinds |= dict.fromkeys(after_lines.tolist(), BARE_AFTER_LINES)
        kinds |= dict.fromkeys(np.searchsorted(ends, after).tolist(), AFTER_QUOTE)
        if self._kind is not None:
            kinds[0] = self._kind
        self._has_lines = (self._has_lines and not last) or bool(len(lines) and lines[-1] > begins[-1])
        self._kind = kinds.pop(last, None)
        return kinds

    def _inserted(self, data: bytes, ends: Positions, kinds: dict[int, int]) -> bytes:
        if not kinds:
            return data
        pieces, taken = [], 0
        for row in sorted(kinds):
            end = int(ends[row])
            pieces += [data[taken:end], self._mark(kinds[row])]
            taken = end
        return b"".join([*pieces, data[taken:]])

    def _context_after(self, text: NDArray[np.uint8], *, is_inside: bool, may_close: bool) -> bytes:
        """The context after a text. `may_close`: outside, unless a quote follows."""
        quoted = b"\n" + self._quote + bytes([FILLER])
        if is_inside or may_close:
            return quoted if is_inside else quoted + self._quote
        return bytes([text[-1]]) if self._separates[text[-1]] else bytes([FILLER])


def _last_line_end(data: bytes) -> int:
    return max(data.rfind(b"\n"), data.rfind(b"\r"))


def _runs(text: NDArray[np.uint8], character: bytes) -> tuple[Positions, Positions]:
    """The starts and ends of the runs of a character."""
    if not character:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    positions = np.flatnonzero(text == character[0])
    if not len(positions):
        return positions, positions
    apart = np.diff(positions) != 1
    return positions[np.concatenate(([True], apart))], positions[np.concatenate((apart, [True]))] + 1


def _inside(begins: NDArray[np.bool_], odd: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the parser is inside a quoted cell after each run of quotes, if it begins outside.

    A run of even length changes nothing: it is pairs inside a cell, or an empty cell. A run of odd length opens or
    closes a cell if it could begin one; otherwise it closes one or has no effect."""
    toggles = np.cumsum(odd & begins)
    since = np.maximum.accumulate(np.where(odd & ~begins, toggles, 0)) if len(toggles) else toggles
    inside: NDArray[np.bool_] = ((toggles - since) & 1) == 1
    return inside


def _packed(found: NDArray[np.bool_]) -> Words:
    """One bit per position, and at least one more after the last."""
    words = np.zeros((len(found) >> 6) + 1, dtype=np.uint64)
    packed = np.packbits(found, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _running_parity(bits: Words, *, start: bool) -> Words:
    """The parity of the bits up to and including each position. `start`: the parity before the first."""
    parity = bits.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        parity ^= parity << np.uint64(shift)
    odd = np.bitwise_xor.accumulate(parity >> np.uint64(63))
    parity[1:] ^= np.uint64(0) - odd[:-1]
    return ~parity if start else parity
