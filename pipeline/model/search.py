"""Texts token by token from a step model: greedy and beam search over all rows at once. Knows nothing of models,
columns or words.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..records import Sequences

#: Tokens so far, int64 `[n, t]`, of n beginnings, and the rows they belong to, int64 `[n]`, ascending → the
#: log-probabilities of what comes next, float32 `[n, vocabulary]`.
Step = Callable[[Tensor, Tensor], Tensor]


def search(step: Step, *, rows: int, end: int, steps: int, beams: int, length_penalty: float) -> Sequences:
    """The likeliest text of each row: at most `steps` tokens, the last of them `end` where it came to that.

    With one beam the likeliest token is followed until it is `end`. With more, so many of the likeliest beginnings
    without `end` are followed, and of all that `end` closes on the way, or that are cut at `steps` tokens, that of the
    largest sum of log-probabilities ÷ number of tokens (`end` counts) to the power of `length_penalty` is taken. Of
    equals the first: of the fewest tokens, then of the likeliest beginning, then `end`, then of the lowest token.
    Beginnings of probability 0 are not followed. A row that is settled is not asked about again.

    Args:
        step: log-probabilities at most 0, −inf where a token is forbidden. On its first call `t` is 0 and both tensors
            are on the CPU; after that they are where its answers are.
        rows: no call is made where there are none.
        end: a token below the size of the vocabulary.
        steps, beams: 1 or more.
        length_penalty: 0 or more; a single beam has no use for it.

    Returns:
        Values float32 `[tokens, 2]`: tokens (below 2²⁴), and the log-probability of each; one token a row at least. A
        row that the step gave a NaN for ends there, with the log-probability NaN.
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
        values, tokens = logs.max(dim=1)  # the first of equals, and NaN before any number
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
    scores = torch.full_like(active, torch.nan, dtype=torch.float64)  # of what is found; NaN: nothing yet
    texts = first.new_zeros(rows, 1, 0, 2)  # the beginnings of the active rows, likeliest first: token, log-probability
    sums = torch.zeros_like(scores)[:, None]  # of their log-probabilities; −inf: not followed
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
        closed, at = closing.flatten(1).max(dim=1)  # the first of equals, and NaN before any number
        closed = closed / weights[length]
        better = (~(closed <= scores[active])).nonzero()[:, 0]
        at = at[better, None]
        text = _longer(texts[better], choices[better], at // closing.shape[2], at % closing.shape[2])
        found[active[better], :length] = text[:, 0]
        lengths[active[better]], scores[active[better]] = length, closed[better]

        further = totals[..., 1:]
        sums, order = further.flatten(1).sort(dim=1, descending=True, stable=True)
        sums, order = sums[:, :beams], order[:, :beams]
        # A sum only falls, so this is the most that a beginning can come to. One that cannot come to more than what is
        # found goes, and so do all less likely ones: none of those that it would have crowded out can win either.
        hopeful = sums / heaviest > scores[active, None]
        going = hopeful[:, 0].nonzero()[:, 0]
        if len(going) == 0:
            break
        texts = _longer(
            texts[going], choices[going], order[going] // further.shape[2], order[going] % further.shape[2] + 1
        )
        sums, active = sums.where(hopeful, -torch.inf)[going], active[going]
    return _sequences(found, lengths)


def _weights(steps: int, length_penalty: float) -> list[float]:
    """What a sum of log-probabilities is divided by, by the number of tokens."""
    lengths = torch.arange(steps + 1, dtype=torch.float64)
    return lengths.pow(length_penalty).clamp(max=torch.finfo(torch.float64).max).tolist()


def _next_tokens(logs: Tensor, end: int, number: int) -> Tensor:
    """What may come next, float `[n, 1 + choices, 2]`, tokens and log-probabilities: `end`, then the `number` likeliest
    others, and perhaps `end` again, forbidden. `end` is NaN where any is."""
    values, tokens = _largest(logs, number + 1)
    closing = logs[:, end].where(~values[:, 0].isnan(), torch.nan)
    values = torch.cat([closing[:, None], values.masked_fill(tokens == end, -torch.inf)], dim=1)
    tokens = torch.cat([torch.full_like(tokens[:, :1], end), tokens], dim=1)
    return torch.stack([tokens.to(values.dtype), values], dim=-1)


def _largest(values: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The `number` largest of each row, or all where there are fewer, and their places; of equals the lowest first.

    `topk` is fast and takes any of equals: rows that have some among their largest are gone through again. It does not
    matter which of NaN or −inf it takes.
    """
    number, width = min(number, values.shape[1]), values.shape[1]
    largest, places = values.topk(min(number + 1, width), dim=1)
    equals = (largest[:, 1:] == largest[:, :-1]) & (largest[:, 1:] > -torch.inf)
    largest, places = largest[:, :number], places[:, :number]
    again = equals.any(dim=1).nonzero()[:, 0]
    if len(again) > 0:
        rest = values[again]
        for rank in range(number):
            most, at = rest.max(dim=1)  # the first of equals
            largest[again, rank], places[again, rank] = most, at
            rest.scatter_(1, at[:, None], -torch.inf)
    return largest, places


def _longer(texts: Tensor, choices: Tensor, beams: Tensor, columns: Tensor) -> Tensor:
    """Beginnings `[rows, beams, t, 2]`, those at `beams` `[rows, m]`, with the choice at `columns` `[rows, m]` of each
    behind: `[rows, m, t + 1, 2]`."""
    row = torch.arange(len(texts), device=texts.device)[:, None]
    return torch.cat([texts[row, beams], choices[row, beams, columns][:, :, None]], dim=2)


def _sequences(found: Tensor, lengths: Tensor) -> Sequences:
    """The first so many of each row."""
    kept = torch.arange(found.shape[1], device=found.device) < lengths[:, None]
    return Sequences(values=found[kept], offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
