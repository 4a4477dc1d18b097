"""A step model → texts: what has been generated so far goes in, log-probabilities of the next token come out. Knows
nothing of columns or words.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...schemas.heads import GENERATED, GenerationHead
from ...schemas.inputs import AnyInput, SequenceInput
from ..errors import BundleError
from ..features.kinds import kind_of
from ..features.sequences import mask_of
from ..records import Sequences
from .forward import Call, called, select_output
from .passes import Pass
from .search import search

#: The logarithm of a sum that is to be 1 may be so far from 0.
APART = 0.02


def generate(
    model: nn.Module,
    one: Pass,
    entries: Sequence[AnyInput],
    head: GenerationHead,
    *,
    call: Call,
    pass_rows: int,
    heed: Callable[[], None] = lambda: None,
) -> Sequences:
    """The text of each row of a pass, under `inference_mode`: float32 `[tokens, 2]`, each token and its
    log-probability.

    Args:
        pass_rows: how many steps go through the model at once.
        heed: called before every step; what it raises ends the search.

    Raises:
        BundleError: an output that is no scores of the vocabulary.
    """
    first = kind_of(entries[0]).entry

    def step(tokens: Tensor, owners: Tensor) -> Tensor:
        device = next(iter(one.arguments.values())).device
        tokens, owners = tokens.to(device), owners.to(device)
        logs = []
        for start in range(0, len(owners), at_once):
            heed()
            some, theirs = tokens[start : start + at_once], owners[start : start + at_once]
            if len(theirs) == 1:  # models that squeeze take a single row for none at all
                some, theirs = some.repeat(2, 1), theirs.repeat(2)
            if head.start is not None:
                begun = torch.cat([torch.full_like(some[:, :1], head.start), some], dim=1) if some.shape[1] else None
                begun = torch.full((len(theirs), 1), head.start, device=device) if begun is None else begun
                arguments = {name: given[theirs] for name, given in one.arguments.items()} | {GENERATED: begun}
                last = torch.full_like(theirs, begun.shape[1] - 1)
            else:
                assert one.lengths is not None, "a sequence has lengths"
                arguments, last = _continued(first, one.arguments[first.name][theirs], one.lengths[theirs], some)
            raw = select_output(called(model, arguments, call), head.output)
            found = _log_probabilities(head, _next(raw, last, head))[: len(owners[start : start + at_once])]
            if not tokens.shape[1]:
                _refuse_others(head, found)
            logs.append(found)
        return torch.cat(logs)

    widest = max((given.shape[1] for given in one.arguments.values() if given.ndim > 1), default=1)
    at_once = max(1, pass_rows // (widest + head.steps))
    with torch.inference_mode():
        return search(
            step,
            rows=one.num_rows,
            end=head.end,
            steps=head.steps,
            beams=head.beams,
            length_penalty=head.length_penalty,
        )


def _continued(
    entry: SequenceInput, given: Tensor, lengths: Tensor, tokens: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Tokens behind the end of each row's own, with their mask, and the place of the last."""
    width = given.shape[1] + tokens.shape[1]
    rows = given.new_full((len(given), width), entry.pad)
    rows[:, : given.shape[1]] = given
    places = lengths[:, None] + torch.arange(tokens.shape[1], device=given.device)
    rows.scatter_(1, places, tokens)
    whole = lengths + tokens.shape[1]
    arguments = {entry.name: rows}
    if entry.mask is not None:
        arguments[f"{entry.name}_mask"] = mask_of(entry, whole, width)
    return arguments, whole - 1


def _next(raw: Tensor, last: Tensor, head: GenerationHead) -> Tensor:
    """Scores of the next token, `[rows, vocabulary]`."""
    if raw.ndim == 3 and raw.shape[0] == len(last):
        raw = raw[torch.arange(len(last), device=raw.device), last]
    if raw.shape != (len(last), len(head.labels)):
        raise BundleError(
            f"the step model returns {tuple(raw.shape)} for {len(last)} rows and {len(head.labels)} tokens; it must"
            " return [rows, vocabulary], or [rows, steps, vocabulary]"
        )
    return raw


def _refuse_others(head: GenerationHead, logs: Tensor) -> None:
    """Raise BundleError for what is said to be probabilities, and does not sum to 1."""
    if not bool((torch.logsumexp(logs, dim=-1).abs() <= APART).all()):  # negative ones make NaN, which is refused too
        raise BundleError(
            f"outputs={head.outputs!r}, and those of the next token do not sum to 1; say outputs='logits'?"
        )


def _log_probabilities(head: GenerationHead, raw: Tensor) -> Tensor:
    match head.outputs:
        case "logits":
            return torch.log_softmax(raw.float(), dim=-1)
        case "probabilities":
            return torch.log(raw.float())
    return raw.float()
