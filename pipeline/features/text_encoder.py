"""Encodes columns of text: strings → the tokens of all rows, in calls of a bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.inputs import AnyInput, TextInput
from ..arrays import to_arrow, to_numpy
from ..errors import counted
from ..records import Lists
from .tokenizer import Texts, load_tokenizer, try_encode

if TYPE_CHECKING:
    from tokenizers import Encoding

#: The largest text in UTF-8, with the text of its pair. The library takes 200 bytes of memory for each byte of text.
MAX_TEXT_BYTES = 1 << 20
#: The texts of one call, which are in memory together.
CALL_BYTES, CALL_ROWS = 256 << 10, 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """The tokens of each row: int64 `[steps]`, or `[steps, 2]` with the type of each. `unfit`: rows that cannot be
    scored, with the reason; `num_cut`: how many texts were cut."""

    tokens: Lists
    unfit: Mapping[int, str]
    num_cut: int


class TextEncoder:
    """The tokenizer of one input. Calls may come from any thread.

    Args:
        data: its tokenizer.json.

    Raises:
        BundleError: as `load_tokenizer` raises.
    """

    def __init__(self, data: bytes, entry: TextInput) -> None:
        self.entry = entry
        self._tokenizer = load_tokenizer(data, entry)

    def encode(self, columns: Mapping[str, Any]) -> Encoded:
        """Encode the rows of the input's columns, which are Arrow strings without nulls."""
        given = [columns[name] for name in self.entry.columns]
        sizes = sum(to_numpy(pc.binary_length(column)).astype(np.int64) for column in given)
        assert isinstance(sizes, np.ndarray), "there is at least one column"
        unfit = {
            row: f"has {counted(int(sizes[row]), 'byte')} of text, but at most {MAX_TEXT_BYTES:,} are encoded"
            for row in np.flatnonzero(sizes > MAX_TEXT_BYTES).tolist()
        }
        if unfit:
            sizes = np.where(sizes > MAX_TEXT_BYTES, 0, sizes)
            given = [pc.if_else(to_arrow(sizes > 0), column, "") for column in given]
        lengths = np.zeros(len(sizes), dtype=np.int64)
        tokens: list[NDArray[np.int64]] = []
        num_cut = 0
        for rows in calls(sizes):
            found, failed = self._encode_rows(given, rows, unfit)
            unfit |= failed
            lengths[rows.start : rows.stop] = [len(one) for one in found]
            tokens.append(self._values(found))
            num_cut += sum(len(one) >= self.entry.longest and bool(one.overflowing) for one in found)
        unfit |= {row: "has no tokens" for row in np.flatnonzero(lengths == 0).tolist() if row not in unfit}
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        values = np.concatenate(tokens) if tokens else self._values([])
        return Encoded(tokens=Lists(values=values, offsets=offsets), unfit=unfit, num_cut=num_cut)

    def _encode_rows(
        self, columns: Sequence[pa.Array], rows: range, unfit: Mapping[int, str]
    ) -> tuple[list[Encoding], dict[int, str]]:
        """The encodings of some rows; those that cannot be encoded are empty, and have a reason."""
        parts = [column.slice(rows.start, len(rows)).to_pylist() for column in columns]
        texts: Texts = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
        fits = [text for row, text in zip(rows, texts, strict=True) if row not in unfit]
        found, failed = self._encode_texts(fits), dict[int, str]()
        kept = iter(found)
        empty = _empty()
        encodings = []
        for row in rows:
            one = empty if row in unfit else next(kept)
            if isinstance(one, str):
                failed[row] = f"cannot be encoded: {one}"
                one = empty
            elif len(one) > self.entry.longest:
                failed[row] = f"has {len(one)} tokens, but the bundle takes at most {self.entry.longest}"
                one = empty
            encodings.append(one)
        return encodings, failed

    def _encode_texts(self, texts: Texts) -> Sequence[Encoding | str]:
        """The encoding of each text, or the reason why it cannot be encoded."""
        found = try_encode(self._tokenizer, texts, special_tokens=self.entry.special_tokens)
        if not isinstance(found, str):
            return found
        each = [try_encode(self._tokenizer, [text], special_tokens=self.entry.special_tokens) for text in texts]
        return [one if isinstance(one, str) else one[0] for one in each]

    def _values(self, found: Sequence[Encoding]) -> NDArray[np.int64]:
        ids = _joined([one.ids for one in found])
        return np.stack([ids, _joined([one.type_ids for one in found])], axis=1) if self.entry.types else ids


def _empty() -> Encoding:
    from tokenizers import Encoding  # an optional dependency

    return Encoding()


def _joined(lists: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=sum(map(len, lists)))


def calls(sizes: NDArray[np.int64]) -> Iterator[range]:
    """Consecutive rows, as many as are encoded in one call: at least one."""
    start = total = 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and (total + size > CALL_BYTES or row - start >= CALL_ROWS):
            yield range(start, row)
            start, total = row, 0
        total += size
    if start < len(sizes):
        yield range(start, len(sizes))


def open_encoders(inputs: Sequence[AnyInput], read: Callable[[str], bytes]) -> list[TextEncoder]:
    """The encoders of the inputs that take text.

    Args:
        read: the bytes of a tokenizer.json by its name.

    Raises:
        BundleError: as `load_tokenizer` raises.
    """
    return [TextEncoder(read(entry.tokenizer), entry) for entry in inputs if isinstance(entry, TextInput)]
