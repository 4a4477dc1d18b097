"""Generates texts with a step model, which takes the tokens so far and returns scores of the next one. Independent of
columns and words.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...schemas.heads import GENERATED, GenerationHead
from ...schemas.inputs import AnyInput, StepInput
from ..errors import BundleError, counted, shape_text
from ..features.kinds import kind_of
from ..features.sequences import mask_of, steps_kept
from ..records import Sequences
from .forward import Call, call_model, select_output
from .passes import Pass
from .search import search

#: How far the logarithm of a sum of probabilities may be from 0.
LOG_SUM_TOLERANCE = 0.02


def generate(
    model: nn.Module,
    one: Pass,
    entries: Sequence[AnyInput],
    head: GenerationHead,
    *,
    call: Call,
    pass_rows: int,
    check_stopped: Callable[[], None] = lambda: None,
) -> Sequences:
    """The text of each row of a pass, under `inference_mode`: float32 `[tokens, 2]`, each token and its
    log-probability.

    Args:
        pass_rows: the most steps of one pass through the model.
        check_stopped: called before every step; an error that it raises ends the search.

    Raises:
        BundleError: an output that is not scores of the vocabulary.
    """
    first = kind_of(entries[0]).entry

    def step(tokens: Tensor, owners: Tensor) -> Tensor:
        device = next(iter(one.arguments.values())).device
        tokens, owners = tokens.to(device), owners.to(device)
        logs = []
        for start in range(0, len(owners), at_once):
            check_stopped()
            some, theirs = tokens[start : start + at_once], owners[start : start + at_once]
            if len(theirs) == 1:  # models that squeeze would drop the dimension of a single row
                some, theirs = some.repeat(2, 1), theirs.repeat(2)
            if head.start is not None:
                so_far = torch.cat([torch.full_like(some[:, :1], head.start), some], dim=1) if some.shape[1] else None
                so_far = torch.full((len(theirs), 1), head.start, device=device) if so_far is None else so_far
                arguments = {name: given[theirs] for name, given in one.arguments.items()} | {GENERATED: so_far}
                last = torch.full_like(theirs, so_far.shape[1] - 1)
            else:
                assert one.lengths is not None, "the bundle has a sequence"
                arguments, last = _continued(first, one.arguments[first.name][theirs], one.lengths[theirs], some)
            raw = select_output(call_model(model, arguments, call), head.output)
            found = _log_probabilities(head, _next(raw, last, head))[: len(owners[start : start + at_once])]
            if not tokens.shape[1]:
                _check_sums(head, found)
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


def _continued(entry: StepInput, given: Tensor, lengths: Tensor, tokens: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Append tokens to each row's own. Returns the arguments of the model, with the mask, and the index of each last
    token."""
    width = given.shape[1] + tokens.shape[1]
    rows = given.new_full((len(given), width), entry.pad)
    rows[:, : given.shape[1]] = given
    positions = lengths[:, None] + torch.arange(tokens.shape[1], device=given.device)
    rows.scatter_(1, positions, tokens)
    whole = lengths + tokens.shape[1]
    arguments = {entry.name: rows}
    if entry.mask is not None:
        arguments[entry.mask_name] = mask_of(entry, steps_kept(whole, width), whole)
    return arguments, whole - 1


def _next(raw: Tensor, last: Tensor, head: GenerationHead) -> Tensor:
    """Scores of the next token, `[rows, vocabulary]`."""
    if raw.ndim == 3 and raw.shape[0] == len(last):
        raw = raw[torch.arange(len(last), device=raw.device), last]
    if raw.shape != (len(last), len(head.labels)):
        raise BundleError(
            f"the step model returns {shape_text(raw.shape)} for {counted(len(last), 'row')} and"
            f" {counted(len(head.labels), 'token')}; it must return [rows, vocabulary], or [rows, steps, vocabulary]"
        )
    return raw


def _check_sums(head: GenerationHead, logs: Tensor) -> None:
    """Raise BundleError for probabilities that do not sum to 1."""
    if not bool((torch.logsumexp(logs, dim=-1).abs() <= LOG_SUM_TOLERANCE).all()):  # NaN, of negative ones, included
        raise BundleError(
            f"outputs is {head.outputs!r}, but those of the next token do not sum to 1; set outputs to 'logits' if they"
            " are logits"
        )


def _log_probabilities(head: GenerationHead, raw: Tensor) -> Tensor:
    match head.outputs:
        case "logits":
            return torch.log_softmax(raw.float(), dim=-1)
        case "probabilities":
            return torch.log(raw.float())
    return raw.float()
