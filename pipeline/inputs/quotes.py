"""Bytes of a CSV → the same bytes, in which every row whose quotes or escapes cannot be trusted has too many cells, so
that the parser hands it on as a ragged row, under its own number. Independent of Arrow.

Rows begin and end, and quotes open and close, where Arrow's parser has them: a quote opens a cell only as its first
character, a quote inside it closes it unless another follows, and an escaped character has no meaning of its own. So
over the runs of adjacent quotes the state is one of two, inside a quoted cell or outside, and a run changes it by its
length and by whether it begins a cell; that makes it a sum, and no loop over rows is needed.
"""

import codecs
import secrets
import string

import numpy as np
from numpy.typing import NDArray

from ..options import CsvDialect

#: A byte that means nothing, and no dialect can give it a meaning.
FILLER = 0
LINE_ENDS = b"\n\r"
#: What is wrong with a marked row.
BEHIND_QUOTE, BARE_BEHIND_LINES, ESCAPED = range(3)
REASONS = (
    "has text behind a closing quote",
    "has a quoted cell over several lines, and behind it a quote within an unquoted cell",
    "has an escape in front of a character that needs none",
)
Places = NDArray[np.int64]
#: A bit for each byte of a block.
Words = NDArray[np.uint64]


class RowMarker:
    """Marks rows in blocks of UTF-8 that follow each other.

    A row is marked for one of these reasons: text stands behind a closing quote (`"Best" product`); a quoted cell
    spans lines and an unquoted one behind it holds a quote, as where a stray quote has swallowed the rows up to a
    quoted cell that begins with a delimiter; or the escape stands in front of a character that is neither quote,
    delimiter, escape nor newline, which some readers drop and others keep.
    """

    def __init__(self, dialect: CsvDialect, columns: int) -> None:
        special = dialect.delimiter + dialect.quote + dialect.escape
        letters = [letter for letter in string.ascii_letters if letter not in special]
        #: No file holds it but by guessing.
        self._token = "".join(secrets.choice(letters) for _ in range(16))
        self._kinds = letters[: len(REASONS)]
        self._delimiter = dialect.delimiter.encode()
        self._columns = columns
        self._quote = dialect.quote.encode()
        self._escape = dialect.escape.encode()
        self._separates = np.zeros(256, dtype=bool)
        self._separates[list(self._delimiter + LINE_ENDS)] = True
        self._may_follow_escape = np.zeros(256, dtype=bool)
        # writers escape the quote that they never use, too
        self._may_follow_escape[list((self._quote or b'"') + self._delimiter + self._escape + b"\n")] = True
        #: What the bytes so far come to, in the fewest bytes that leave the parser in the same state.
        self._context = b"\n"
        self._at_start = True
        #: Arrays of a block's size that are made anew for each block cost more in page faults than all sums over them.
        self._scratch = np.zeros((2, 0), dtype=bool)
        # of the row that has not ended yet
        self._kind: int | None = None
        self._has_lines = False

    def mark(self, data: bytes) -> bytes:
        """The next block, in which every row that ends here and cannot be trusted has the mark at its end."""
        if self._at_start and data:
            self._at_start = False
            if data.startswith(codecs.BOM_UTF8):
                return codecs.BOM_UTF8 + self.mark(data[len(codecs.BOM_UTF8) :])
        if not data or self._is_plain(data):
            self._context = data[-1:] or self._context
            return data
        return self._marked(data)

    def at_end(self) -> bytes:
        """What ends the last row, with its mark, where no line end does."""
        mark = b"" if self._kind is None else self._mark(self._kind)
        return mark + (b"" if self._context in (b"\n", b"\r") else b"\n")

    @property
    def ends_in_escape(self) -> bool:
        """Whether the last character is an escape, with nothing behind it."""
        return bool(self._escape) and self._context.endswith(self._escape)

    def reason(self, text: str) -> str | None:
        """What is wrong with a row whose text has the mark, with what stands in front of it; None where it has none."""
        before, mark, rest = text.partition(self._token)
        if not mark:
            return None
        row = before.removesuffix(self._delimiter.decode())
        kind = self._kinds.index(rest[0])
        hint = ' (backslashes escape where the job file says so: [csv] escape = "\\\\")'
        may_escape = kind == BEHIND_QUOTE and not self._escape and "\\" + self._quote.decode() in row
        return f"{REASONS[kind]}{hint if may_escape else ''}: {row}"

    def _mark(self, kind: int) -> bytes:
        word = (self._token + self._kinds[kind]).encode()
        return self._delimiter + word + self._delimiter * self._columns

    def _is_plain(self, data: bytes) -> bool:
        """Whether nothing in a block can need a mark: it holds no quote and no escape, nor does what came before."""
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
        """Whether every quote of a block stands where a writer puts it; then the context is what lies behind it.

        Counted by parity, every second quote is to begin a cell or to follow another one at once, and those between
        are to end a cell or to come right in front of another. Where that holds, parity is what the parser sees. It is
        a matter of words of 64 places, ten times as fast as lists of places. `same`: the block as bytes.
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
        beside[size >> 6] |= np.uint64(1 << (size & 63))  # what follows the block is seen with the next
        before, behind = beside << np.uint64(1), beside >> np.uint64(1)
        before[0] |= np.uint64(may_close or self._separates[self._context[-1]])
        before[1:] |= beside[:-1] >> np.uint64(63)
        behind[:-1] |= beside[1:] << np.uint64(63)
        inside = _running_parity(quotes, start=self._context.count(self._quote) % 2 == 1)
        before ^= behind  # becomes: before where inside, else behind
        before &= inside
        before ^= behind
        if np.any(np.bitwise_and(quotes, np.invert(before, out=before), out=before)):
            return False

        def is_inside(place: int) -> bool:
            return bool(inside[place >> 6] >> np.uint64(place & 63) & np.uint64(1))

        line_end = max(same.rfind(b"\n"), same.rfind(b"\r"))
        if line_end >= 0:  # otherwise it is still the row of before
            self._has_lines = is_inside(line_end)
        self._context = self._context_behind(block, is_inside=is_inside(size - 1), may_close=block[-1] == quote)
        return True

    def _inspected(self, block: NDArray[np.uint8], data: bytes, wrong: Places) -> bytes:
        """A block of any kind, marked."""
        text = np.concatenate((np.frombuffer(self._context, np.uint8), block))
        start, stop = _runs(text, self._quote)
        begins = self._separates[text[start - 1]]
        inside = _inside(begins, ((stop - start) & 1) == 1)
        was_inside = np.concatenate(([False], inside[:-1]))[: len(inside)]
        closes = ~inside & (was_inside | begins)
        waits = bool(len(stop)) and int(stop[-1]) == len(text)  # its next character is in the next block
        followed = stop[closes & (stop < len(text))]
        behind = followed[~self._separates[text[followed]]]
        bare = start[~was_inside & ~begins]
        breaks = np.flatnonzero((text == LINE_ENDS[0]) | (text == LINE_ENDS[1]))
        breaks = breaks[breaks >= len(self._context)]
        within = np.concatenate(([False], inside))[np.searchsorted(start, breaks)]
        wrong = wrong + len(self._context)
        kinds = self._kinds_by_row(breaks[~within], lines=breaks[within], behind=behind, bare=bare, wrong=wrong)
        marked = self._inserted(data, breaks[~within] - len(self._context), kinds)
        self._context = self._context_behind(
            text, is_inside=bool(len(inside)) and bool(inside[-1]), may_close=waits and bool(closes[-1])
        )
        return marked

    def _without_escaped(self, text: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Places, bool]:
        """The text with escaped characters as fillers; where one of them needs no escape; whether the last character is
        an escape that waits for what it escapes."""
        start, stop = _runs(text, self._escape)
        escaped = stop[((stop - start) & 1) == 1]
        waits = bool(len(escaped)) and int(escaped[-1]) == len(text)
        escaped = escaped[: len(escaped) - waits]
        wrong = escaped[~self._may_follow_escape[text[escaped]]]
        filled = text.copy()
        filled[escaped] = FILLER
        return filled, wrong, waits

    def _kinds_by_row(
        self, ends: Places, *, lines: Places, behind: Places, bare: Places, wrong: Places
    ) -> dict[int, int]:
        """What is wrong with which of the rows that end at `ends`; what is known of the row behind them is kept.

        Args:
            lines: line ends inside quoted cells.
            behind: text behind closing quotes.
            bare: quotes within unquoted cells.
            wrong: escaped characters that need no escape.
        """
        last = len(ends)
        begins = np.concatenate(([-1], ends))
        row = np.searchsorted(ends, bare)
        lines_before = np.searchsorted(lines, bare) - np.searchsorted(lines, begins[row])
        after_lines = row[(lines_before > 0) | (self._has_lines & (row == 0))]
        kinds = dict.fromkeys(np.searchsorted(ends, wrong).tolist(), ESCAPED)
        kinds |= dict.fromkeys(after_lines.tolist(), BARE_BEHIND_LINES)
        kinds |= dict.fromkeys(np.searchsorted(ends, behind).tolist(), BEHIND_QUOTE)
        if self._kind is not None:
            kinds[0] = self._kind
        self._has_lines = (self._has_lines and not last) or bool(len(lines) and lines[-1] > begins[-1])
        self._kind = kinds.pop(last, None)
        return kinds

    def _inserted(self, data: bytes, ends: Places, kinds: dict[int, int]) -> bytes:
        if not kinds:
            return data
        pieces, taken = [], 0
        for row in sorted(kinds):
            end = int(ends[row])
            pieces += [data[taken:end], self._mark(kinds[row])]
            taken = end
        return b"".join([*pieces, data[taken:]])

    def _context_behind(self, text: NDArray[np.uint8], *, is_inside: bool, may_close: bool) -> bytes:
        """`may_close`: outside, if no quote follows."""
        within = b"\n" + self._quote + bytes([FILLER])
        if is_inside or may_close:
            return within if is_inside else within + self._quote
        return bytes([text[-1]]) if self._separates[text[-1]] else bytes([FILLER])


def _runs(text: NDArray[np.uint8], character: bytes) -> tuple[Places, Places]:
    """Where runs of a character begin and end."""
    if not character:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    places = np.flatnonzero(text == character[0])
    if not len(places):
        return places, places
    apart = np.diff(places) != 1
    return places[np.concatenate(([True], apart))], places[np.concatenate((apart, [True]))] + 1


def _inside(begins: NDArray[np.bool_], odd: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the parser is inside a quoted cell behind each run of quotes, having begun outside.

    A run of even length changes nothing: pairs inside, an empty cell at the start of one. One of odd length opens or
    closes where it could begin a cell, and closes or means nothing where it could not."""
    toggles = np.cumsum(odd & begins)
    since = np.maximum.accumulate(np.where(odd & ~begins, toggles, 0)) if len(toggles) else toggles
    inside: NDArray[np.bool_] = ((toggles - since) & 1) == 1
    return inside


def _packed(found: NDArray[np.bool_]) -> Words:
    """A bit for each place, and one at least for what is behind the last."""
    words = np.zeros((len(found) >> 6) + 1, dtype=np.uint64)
    packed = np.packbits(found, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _running_parity(bits: Words, *, start: bool) -> Words:
    """Of the bits up to each place, it included, and of what came before."""
    parity = bits.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        parity ^= parity << np.uint64(shift)
    odd = np.bitwise_xor.accumulate(parity >> np.uint64(63))
    parity[1:] ^= np.uint64(0) - odd[:-1]
    return ~parity if start else parity
