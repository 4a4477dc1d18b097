"""Greedy and beam search for texts, token by token, over all rows at once. Independent of models, columns and words."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..records import Sequences

#: Takes the tokens so far, int64 `[n, t]`, of n prefixes, and the rows they belong to, int64 `[n]`, ascending. Returns
#: the log-probabilities of the next token, float32 `[n, vocabulary]`.
Step = Callable[[Tensor, Tensor], Tensor]


def search(step: Step, *, rows: int, end: int, steps: int, beams: int, length_penalty: float) -> Sequences:
    """Find the likeliest text of each row: at most `steps` tokens, the last of them `end` if the text is complete.

    With one beam, the likeliest token is followed until it is `end`. With more, that many of the likeliest prefixes
    without `end` are followed. Of all texts that are completed by `end` or cut at `steps` tokens, the result is the one
    with the largest sum of log-probabilities ÷ number of tokens (including `end`) to the power of `length_penalty`.
    Ties go to the text with the fewest tokens, then with the likeliest prefix, then to `end`, then to the lowest token.
    Prefixes of probability 0 are not followed, and no step is called for a row whose result is final.

    Args:
        step: returns log-probabilities of at most 0, −inf for impossible tokens. On the first call `t` is 0 and both
            tensors are on the CPU; afterwards they are on the device of its results.
        rows: the number of rows; `step` is not called if it is 0.
        end: the token that ends a text; less than the size of the vocabulary.
        steps, beams: at least 1.
        length_penalty: at least 0; not used with one beam.

    Returns:
        Values float32 `[tokens, 2]`: tokens (below 2²⁴) and their log-probabilities, at least one token per row. The
        text of a row ends at the first NaN that `step` returns for it, with the log-probability NaN.
    """
    if rows == 0:
        return _sequences(torch.zeros(0, steps, 2), torch.zeros(0, dtype=torch.int64))
    first = step(torch.zeros(rows, 0, dtype=torch.int64), torch.arange(rows))
    if beams == 1:
        return _greedy(step, first, end=end, steps=steps)
    return _beam(step, first, end=end, steps=steps, beams=beams, length_penalty=length_penalty)


def _greedy(step: Step, first: Tensor, *, end: int, steps: int) -> Sequences:
    rows, logs = len(first), first
    active = torch.arange(rows, device=first.device)
    found, lengths = first.new_zeros(rows, steps, 2), torch.zeros_like(active)
    for length in range(steps):
        if length > 0:
            logs = step(found[active, :length, 0].long(), active)
        values, tokens = logs.max(dim=1)  # the first of ties; NaN before any number
        found[active, length] = torch.stack([tokens.to(values.dtype), values], dim=-1)
        lengths[active] = length + 1
        active = active[(tokens != end) & ~values.isnan()]
        if len(active) == 0:
            break
    return _sequences(found, lengths)


def _beam(step: Step, first: Tensor, *, end: int, steps: int, beams: int, length_penalty: float) -> Sequences:
    rows, logs = len(first), first
    active = torch.arange(rows, device=first.device)
    found, lengths = first.new_zeros(rows, steps, 2), torch.zeros_like(active)
    scores = torch.full_like(active, torch.nan, dtype=torch.float64)  # of the texts found; NaN where there is none yet
    texts = first.new_zeros(rows, 1, 0, 2)  # prefixes of the active rows, likeliest first: token, log-probability
    sums = torch.zeros_like(scores)[:, None]  # of their log-probabilities; −inf where a prefix is not followed
    weights = _weights(steps, length_penalty)
    heaviest = max(weights)
    for length in range(1, steps + 1):
        alive = (sums.flatten() > -torch.inf).nonzero()[:, 0]
        if length > 1:
            logs = step(texts.flatten(0, 1)[alive, :, 0].long(), active[alive // sums.shape[1]])
        next_tokens = _next_tokens(logs, end, beams)
        choices = next_tokens.new_full((sums.numel(), *next_tokens.shape[1:]), -torch.inf)
        choices = choices.index_copy(0, alive, next_tokens).view(*sums.shape, *next_tokens.shape[1:])
        totals = sums[..., None] + choices[..., 1]  # float64 [active rows, beams, choices]

        closing = totals if length == steps else totals[..., :1]
        closed, at = closing.flatten(1).max(dim=1)  # the first of ties; NaN before any number
        closed = closed / weights[length]
        better = (~(closed <= scores[active])).nonzero()[:, 0]
        at = at[better, None]
        text = _extended(texts[better], choices[better], at // closing.shape[2], at % closing.shape[2])
        found[active[better], :length] = text[:, 0]
        lengths[active[better]], scores[active[better]] = length, closed[better]

        further = totals[..., 1:]
        sums, order = further.flatten(1).sort(dim=1, descending=True, stable=True)
        sums, order = sums[:, :beams], order[:, :beams]
        # Sums only decrease, so this is an upper bound on the score of a prefix. A prefix whose bound is not above the
        # score found is dropped, and all less likely ones with it: no prefix that it displaced can win either.
        promising = sums / heaviest > scores[active, None]
        remaining = promising[:, 0].nonzero()[:, 0]
        if len(remaining) == 0:
            break
        texts = _extended(
            texts[remaining],
            choices[remaining],
            order[remaining] // further.shape[2],
            order[remaining] % further.shape[2] + 1,
        )
        sums, active = sums.where(promising, -torch.inf)[remaining], active[remaining]
    return _sequences(found, lengths)


def _weights(steps: int, length_penalty: float) -> list[float]:
    """The divisor of a sum of log-probabilities, by the number of tokens."""
    lengths = torch.arange(steps + 1, dtype=torch.float64)
    return lengths.pow(length_penalty).clamp(max=torch.finfo(torch.float64).max).tolist()


def _next_tokens(logs: Tensor, end: int, number: int) -> Tensor:
    """The candidates for the next token, float `[n, 1 + choices, 2]`, tokens and log-probabilities: `end`, then the
    `number` likeliest others, possibly with `end` again as impossible. `end` is NaN where any token is."""
    values, tokens = _largest(logs, number + 1)
    closing = logs[:, end].where(~values[:, 0].isnan(), torch.nan)
    values = torch.cat([closing[:, None], values.masked_fill(tokens == end, -torch.inf)], dim=1)
    tokens = torch.cat([torch.full_like(tokens[:, :1], end), tokens], dim=1)
    return torch.stack([tokens.to(values.dtype), values], dim=-1)


def _largest(values: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The `number` largest values of each row, or all where there are fewer, with their indices; ties lowest first.

    `topk` is fast but takes any of several equal values, so rows with ties among their largest are searched again.
    Among NaN or −inf, the choice does not matter.
    """
    number, width = min(number, values.shape[1]), values.shape[1]
    largest, indices = values.topk(min(number + 1, width), dim=1)
    equals = (largest[:, 1:] == largest[:, :-1]) & (largest[:, 1:] > -torch.inf)
    largest, indices = largest[:, :number], indices[:, :number]
    again = equals.any(dim=1).nonzero()[:, 0]
    if len(again) > 0:
        rest = values[again]
        for rank in range(number):
            most, at = rest.max(dim=1)  # the first of ties
            largest[again, rank], indices[again, rank] = most, at
            rest.scatter_(1, at[:, None], -torch.inf)
    return largest, indices


def _extended(texts: Tensor, choices: Tensor, beams: Tensor, columns: Tensor) -> Tensor:
    """Prefixes `[rows, beams, t, 2]`, selected by `beams` `[rows, m]`, each extended by its choice at `columns`
    `[rows, m]`: `[rows, m, t + 1, 2]`."""
    row = torch.arange(len(texts), device=texts.device)[:, None]
    return torch.cat([texts[row, beams], choices[row, beams, columns][:, :, None]], dim=2)


def _sequences(found: Tensor, lengths: Tensor) -> Sequences:
    """The first `lengths` tokens of each row."""
    kept = torch.arange(found.shape[1], device=found.device) < lengths[:, None]
    return Sequences(values=found[kept], offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
