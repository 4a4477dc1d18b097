"""tokenize: text → tokens, encoded by Hugging Face's `tokenizers`; what cannot be encoded becomes a reject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ...events import Event
from ..rejecting import without_rows
from .stage import Stage

if TYPE_CHECKING:
    from ...features.text_encoder import TextEncoder
    from ...timing import StageTime, StageTimes
    from ..block import Block


class TextsCut(Event):
    """Texts had more tokens than the bundle takes, and only some of these were scored."""

    name: ClassVar[str] = "texts_cut"
    #: The column; of pairs the first one.
    column: str
    #: How many texts were cut, and how many were encoded.
    cut: int
    texts: int
    longest: int
    reason: str = "these texts were longer than that many tokens, and were cut"


class Tokenize(Stage):
    """Adds the tokens of each input of text to `checked`: int64 `[steps]`, or `[steps, 2]` with their types.

    Args:
        encoders: those of the bundle's inputs.
        pin: whether pixels of the same rows are in pinned memory.
    """

    name = "tokenize"

    def __init__(self, encoders: Sequence[TextEncoder], *, pin: bool) -> None:
        self._encoders, self._pin = encoders, pin

    def __call__(self, block: Block) -> Block:
        checked = block.need_checked()
        num_rows, num_bytes = checked.num_kept, 0
        for encoder in self._encoders:
            entry = encoder.entry
            encoded = encoder.encode(checked.columns)
            num_bytes += encoded.tokens.values.nbytes
            self._counted(block.times, entry.name).rows += encoded.num_cut
            checked = replace(checked, columns={**checked.columns, entry.prepared[0]: encoded.tokens})
            if encoded.unfit:
                column = entry.columns[0]
                checked = without_rows(checked, encoded.unfit, stage=self.name, column=column, pin=self._pin)
        return replace(block, checked=checked, num_rows=num_rows, num_bytes=num_bytes)

    def _counted(self, times: StageTimes, name: str) -> StageTime:
        """Where the texts of an input that were cut are counted: they add up as the times of the stages do."""
        return times[f"{self.name}: cut {name}"]

    def summary(self, times: StageTimes) -> Iterator[Event]:
        """How many texts were cut."""
        for encoder in self._encoders:
            entry = encoder.entry
            if cut := self._counted(times, entry.name).rows:
                yield TextsCut(column=entry.columns[0], cut=cut, texts=times[self.name].rows, longest=entry.longest)
