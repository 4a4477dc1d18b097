"""Text that the tokenize stage has encoded → the concatenated tokens of all rows, and their types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...schemas.inputs import TextInput
from ..records import Lists, Sequences
from .columns import Columns
from .kind import Filled, Unfit
from .pinned import new_array, pinned_copy
from .sequences import StepKind, mask_of
from .tokenizer import require_tokenizers

if TYPE_CHECKING:
    from torch import Tensor


class TextKind(StepKind[TextInput]):
    """Text of different lengths."""

    name = "text"

    @property
    def step_shape(self) -> tuple[int, ...]:
        """A token, or a token and its type."""
        return (2,) if self.entry.types else ()

    def describe(self) -> str:
        """The type and shape, how texts of different lengths are batched, and what happens to longer ones."""
        types = ", and the types of its tokens" if self.entry.types else ""
        longer = "rejected" if self.entry.too_long == "reject" else "cut"
        return f"{super().describe()}{types}; longer texts are {longer}"

    def require(self) -> None:
        """Raise BundleError where `tokenizers` is not installed."""
        require_tokenizers()

    def fill(self, columns: Columns, rows: int, *, pin: bool) -> tuple[Filled, Unfit]:  # noqa: ARG002 - the lists have their number
        """int64 `[steps]`, or `[steps, 2]` with types."""
        import torch  # imported by now; planning does not need it

        tokens = columns[self.entry.prepared[0]]
        assert isinstance(tokens, Lists), "the text was encoded"
        offsets = torch.from_numpy(tokens.offsets)
        if not pin:
            return Sequences(values=torch.from_numpy(tokens.values), offsets=offsets), []
        values = new_array(tokens.values.shape, np.int64, pin=True)
        values[:] = tokens.values
        return Sequences(values=torch.from_numpy(values), offsets=pinned_copy(offsets)), []

    def padded(self, values: Tensor, kept: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """The tokens, their mask, and their types."""
        if not self.entry.types:
            return super().padded(values, kept, lengths)
        import torch  # imported by now; planning does not need it

        tokens, types = values[..., 0].contiguous(), values[..., 1]
        masks = [mask_of(self.entry, kept, lengths)] if self.masked else []
        types = torch.where(kept, types, self.entry.pad_type)
        return dict(zip(self.entry.arguments, [tokens, *masks, types], strict=True))
