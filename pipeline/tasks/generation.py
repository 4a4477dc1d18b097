"""Generation: tokens and their log-probabilities → a list of words per row, and its log-probability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ...schemas.heads import GenerationHead
from ..arrays import to_arrow
from ..options import ColumnOptions
from ..records import Lists, Sequences
from .labelled import LabelledTask
from .probabilities import float_column, labels_at
from .tagging import lists_of, rows_of_steps
from .task import PREDICTION, HeadColumns

if TYPE_CHECKING:
    from torch import Tensor

    from ...schemas.bundle import Ensemble


class GenerationTask(LabelledTask[GenerationHead]):
    """A text per row, generated token by token. The end token is not one of its words."""

    name = "generation"
    generates = True
    has_std = False

    @property
    def width(self) -> int:
        """A token and its log-probability."""
        return 2

    def describe(self) -> Iterator[str]:
        """The maximum length, and the beams of the search."""
        yield f"up to {self.head.steps} tokens, {self.head.beams} beam{'' if self.head.beams == 1 else 's'}"
        yield from super().describe()

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:  # noqa: ARG002 - no option applies
        """`prediction`, a list of words; `log_probability`, the sum over its tokens; `score`, with the length penalty;
        `ended`, whether the end token was generated."""
        return [
            pa.field(PREDICTION, pa.list_(self.label_type)),
            pa.field("log_probability", pa.float64()),
            pa.field("score", pa.float64()),
            pa.field("ended", pa.bool_()),
        ]

    def decode(
        self,
        raw: Sequences,
        options: ColumnOptions,  # noqa: ARG002 - no option applies
        ensemble: Ensemble | None = None,  # noqa: ARG002 - ensembles do not generate
        num_members: int = 1,  # noqa: ARG002
    ) -> HeadColumns:
        """The columns listed by `fields`.

        Args:
            raw: values `[tokens, 2]`, as returned by `model/search.py`.
        """
        import torch  # imported by now; planning does not need it

        tokens, lengths = raw.values[:, 0].long(), raw.offsets.diff()
        ended = tokens[raw.offsets[1:] - 1] == self.head.end if len(lengths) else lengths.bool()
        kept = torch.ones(len(tokens), dtype=torch.bool)
        kept[raw.offsets[1:][ended] - 1] = False
        offsets = torch.cat([lengths.new_zeros(1), (lengths - ended.long()).cumsum(0)])
        words = Sequences(values=tokens[kept], offsets=offsets)
        sums = _log_probabilities(raw)
        found = sums.isfinite()
        return HeadColumns(
            columns=[
                lists_of(labels_at(words.values, self.head.labels), words),
                float_column(sums),
                float_column(self._scores(raw)),
                to_arrow(ended.numpy()),
            ],
            finite=None if bool(found.all()) else found,
        )

    def raw_array(self, raw: Tensor | Sequences) -> np.ndarray | Lists:
        """Only the scores, `[rows, 1]`: of two texts with equal scores, either may be generated."""
        assert isinstance(raw, Sequences), "texts have different lengths"
        return self._scores(raw).float().numpy()[:, None]

    def _scores(self, raw: Sequences) -> Tensor:
        """The scores by which texts are compared: log-probability / number of tokens ** length penalty, float64
        `[rows]` (the penalty of Wu et al. 2016 without its constants)."""
        return _log_probabilities(raw) / raw.offsets.diff().double() ** self.head.length_penalty


def _log_probabilities(raw: Sequences) -> Tensor:
    """The sum over the tokens of each row, float64 `[rows]`."""
    sums = raw.values.new_zeros(raw.shape[0]).double()
    return sums.index_add_(0, rows_of_steps(raw), raw.values[:, 1].double())
