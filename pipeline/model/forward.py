"""The forward pass, and how many rows it takes at once. Knows nothing of columns, labels or files."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...schemas.heads import AnyHead
from ..errors import BundleError
from ..tasks.tasks import task_of

Call = Literal["arguments", "dict"]


def forward(
    model: nn.Module, inputs: Mapping[str, Tensor], heads: Sequence[AnyHead], *, call: Call
) -> dict[str, Tensor]:
    """One forward pass under `inference_mode`, which is entered here because it holds for one thread only.

    Args:
        inputs: what the model takes, a row each, on its device and in its order.

    Returns:
        The raw output of every head by its name, `[rows, width]`, where a model that squeezes gives `[rows]`, or
        `[rows, steps, labels]` of one that tags steps.
        A single row goes through twice, beside itself: models that squeeze take it for no row at all.

    Raises:
        BundleError: an output that has not one row per row.
    """
    rows = next(iter(inputs.values())).shape[0]
    with torch.inference_mode():
        if rows == 1:
            inputs = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
        raw = called(model, inputs, call)
        return {head.name: _taken(raw, head, max(2, rows))[:rows] for head in heads}


def _taken(raw: Any, head: AnyHead, rows: int) -> Tensor:
    if not task_of(head).per_step:
        return head_output(raw, head.output, rows)
    assert not isinstance(head.output, list), "the schema says so"
    output = select_output(raw, head.output)
    if output.ndim != 3 or output.shape[0] != rows or output.shape[2] != task_of(head).width:
        raise BundleError(
            f"the model returns {tuple(output.shape)} for {rows} rows; tagging takes [rows, steps, labels], of"
            f" {task_of(head).width} labels"
        )
    return output


def called(model: nn.Module, inputs: Mapping[str, Tensor], call: Call) -> Any:
    """The model's own outputs, given the inputs as it takes them."""
    return model(dict(inputs)) if call == "dict" else model(*inputs.values())


def head_output(raw: Any, which: int | str | list[int | str], rows: int) -> Tensor:
    """What a head takes of what a model returns, `[rows, width]`; of several outputs one beside the other."""
    chosen = [_by_row(select_output(raw, one), rows) for one in (which if isinstance(which, list) else [which])]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)


def _by_row(output: Tensor, rows: int) -> Tensor:
    if output.ndim not in (1, 2) or output.shape[0] != rows:
        raise BundleError(f"the model returns {tuple(output.shape)} for {rows} rows; it must return one row for each")
    return output.reshape(rows, -1)


def select_output(raw: Any, which: int | str) -> Tensor:
    """One tensor of what a model returns: the tensor itself, a position in its tuple, a key of its dict.

    Raises:
        BundleError: there is no such output, or it holds integers or booleans: labels or counts, which decode to
            plausible scores. Lists the outputs that there are.
    """
    if isinstance(raw, Tensor):
        if which != 0:
            raise BundleError(f"output {which!r} was chosen, and the model returns one tensor; leave it out")
        chosen: Any = raw
        there = "one tensor"
    elif isinstance(raw, list | tuple):
        chosen = raw[which] if isinstance(which, int) and which < len(raw) else None
        there = f"a tuple of {len(raw)}: choose output=0 to {len(raw) - 1}"
    elif isinstance(raw, dict):
        chosen = raw.get(which)
        there = f"a dict: choose output= one of {', '.join(map(repr, raw))}"
    else:
        raise BundleError(f"the model returns a {type(raw).__name__}; it must return tensors")
    if not isinstance(chosen, Tensor):
        what = "" if chosen is None else f" but a {type(chosen).__name__}"
        raise BundleError(f"output {which!r} of the model is no tensor{what}; it returns {there}")
    if not chosen.is_floating_point():
        raise BundleError(
            f"output {which!r} of the model is {_described(chosen)}: labels or counts, where scores, probabilities or"
            f" predicted values are floating point; {_others(raw, chosen)}"
        )
    return chosen


def _others(raw: Any, chosen: Tensor) -> str:
    """What else a model returns, and how to name it."""
    named = dict(raw) if isinstance(raw, dict) else dict(enumerate(raw)) if not isinstance(raw, Tensor) else {}
    others = {name: value for name, value in named.items() if value is not chosen}
    if not others:
        return "let the model return its scores (of class labels, leave argmax out; of numbers, call .float())"
    fitting = [name for name, value in others.items() if isinstance(value, Tensor) and value.is_floating_point()]
    listed = ", ".join(f"{name!r} is {_described(value)}" for name, value in others.items())
    return f"of the others {listed}" + (f"; choose output={fitting[0]!r}" if fitting else "")


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, no tensor"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
