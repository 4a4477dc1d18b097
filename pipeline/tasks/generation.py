"""Generation: tokens and their log-probabilities → a list of words for each row, and how likely it is."""

import torch
from torch import Tensor

from ...schemas.heads import GenerationHead
from ..arrays import to_arrow
from ..records import Sequences
from .classes import HeadColumns, float_column, labels_at
from .tagging import lists_of


def decode(head: GenerationHead, raw: Sequences) -> HeadColumns:
    """Columns as `columns.output_fields` names them; the token that ends a text is not among its words.

    Args:
        raw: values `[tokens, 2]`, as `model/search.py` gives them.
    """
    tokens, lengths = raw.values[:, 0].long(), raw.offsets.diff()
    ended = tokens[raw.offsets[1:] - 1] == head.end if len(lengths) else lengths.bool()
    kept = torch.ones(len(tokens), dtype=torch.bool)
    kept[raw.offsets[1:][ended] - 1] = False
    offsets = torch.cat([lengths.new_zeros(1), (lengths - ended.long()).cumsum(0)])
    words = Sequences(values=tokens[kept], offsets=offsets)
    sums = log_probabilities(raw)
    found = sums.isfinite()
    return HeadColumns(
        columns=[
            lists_of(labels_at(words.values, head.labels), words),
            float_column(sums),
            float_column(scores(head, raw)),
            to_arrow(ended.numpy()),
        ],
        finite=None if bool(found.all()) else found,
    )


def log_probabilities(raw: Sequences) -> Tensor:
    """The sum of each row's, float64 `[rows]`."""
    rows = torch.repeat_interleave(torch.arange(raw.shape[0]), raw.offsets.diff())
    return torch.zeros(raw.shape[0], dtype=torch.float64).index_add_(0, rows, raw.values[:, 1].double())


def scores(head: GenerationHead, raw: Sequences) -> Tensor:
    """What texts are compared by: the log-probability ÷ the number of tokens to the power of the length penalty,
    float64 `[rows]` (the penalty of Wu et al. 2016 without its constants)."""
    return log_probabilities(raw) / raw.offsets.diff().double() ** head.length_penalty
