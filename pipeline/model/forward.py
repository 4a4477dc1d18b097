"""One forward pass, and the selection of its outputs. Independent of columns, labels and files."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...schemas.heads import LOGITS, AnyHead
from ..errors import BundleError, counted, dtype_text, shape_text
from ..tasks.named_errors import named_errors
from ..tasks.tasks import task_of

Call = Literal["arguments", "dict"]


def forward(
    model: nn.Module, inputs: Mapping[str, Tensor], heads: Sequence[AnyHead], *, call: Call
) -> dict[str, Tensor]:
    """Run one forward pass under `inference_mode`, which is entered here because it applies to one thread only.

    A single row is passed twice, because models that squeeze would drop its dimension.

    Args:
        inputs: the arguments of the model, in order and on its device.

    Returns:
        The raw output of every head by its name, `[rows, width]`, also where a model that squeezes returns `[rows]`;
        of a tagging head `[rows, steps, labels]`.

    Raises:
        BundleError: an output does not have one row per input row.
    """
    rows = next(iter(inputs.values())).shape[0]
    with torch.inference_mode():
        if rows == 1:
            inputs = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
        raw = call_model(model, inputs, call)
        found = {}
        for head in heads:
            with named_errors(head):
                output = _head_output(raw, head, max(2, rows))
                found[head.name] = output if rows > 1 else output[:rows]
        return found


def _head_output(raw: Any, head: AnyHead, rows: int) -> Tensor:
    if not task_of(head).per_step:
        return head_output(raw, head, rows)
    assert not isinstance(head.output, list), "guaranteed by the schema"
    output = select_output(raw, head.output)
    if output.ndim != 3 or output.shape[0] != rows or output.shape[2] != task_of(head).width:
        raise BundleError(
            f"the model returns {shape_text(output.shape)} for {counted(rows, 'row')}; tagging takes [rows, steps,"
            f" labels], of {counted(task_of(head).width, 'label')}"
        )
    return output


def call_model(model: nn.Module, inputs: Mapping[str, Tensor], call: Call) -> Any:
    """Call the model with its inputs as arguments or as one dict. Returns what the model returns."""
    return model(dict(inputs)) if call == "dict" else model(*inputs.values())


def head_output(raw: Any, head: AnyHead, rows: int) -> Tensor:
    """The output of a head, `[rows, width]`; several outputs are concatenated, and the steps of a forecast,
    `[rows, steps, numbers]`, are put side by side."""
    most_dims = 3 if task_of(head).horizons else 2
    which = head.output if isinstance(head.output, list) else [head.output]
    chosen = [_by_row(select_output(raw, one), rows, most_dims) for one in which]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)


def _by_row(output: Tensor, rows: int, most_dims: int) -> Tensor:
    if not 1 <= output.ndim <= most_dims or output.shape[0] != rows:
        raise BundleError(
            f"the model returns {shape_text(output.shape)} for {counted(rows, 'row')}; it must return one row for each"
            " input row"
        )
    return output if output.ndim == 2 else output.reshape(rows, -1)


def select_output(raw: Any, which: int | str) -> Tensor:
    """Select one tensor of what a model returns: the tensor itself, an index of its tuple, or a key of its dict.

    Raises:
        BundleError: there is no such output, or it holds integers or booleans: labels or counts, which would decode to
            plausible scores. Lists the available outputs.
    """
    if isinstance(raw, Tensor):
        if which != 0:
            raise BundleError(f"output is {which!r}, but the model returns one tensor; leave output out")
        chosen: Any = raw
        available = "one tensor"
    elif isinstance(raw, list | tuple):
        chosen = raw[which] if isinstance(which, int) and which < len(raw) else None
        available = f"a tuple of {len(raw)}; set output to an index from 0 to {len(raw) - 1}"
    elif isinstance(raw, dict):
        chosen = raw.get(which)
        if chosen is None and which == 0:  # the default
            chosen = raw.get(LOGITS)
        available = f"a dict; set output to one of its keys, {', '.join(map(repr, raw))}"
    else:
        raise BundleError(f"the model returns a {type(raw).__name__}; it must return tensors")
    if not isinstance(chosen, Tensor):
        what = "does not exist" if chosen is None else f"is a {type(chosen).__name__}, not a tensor"
        raise BundleError(f"output {which!r} of the model {what}; it returns {available}")
    if not chosen.dtype.is_floating_point:
        raise BundleError(
            f"output {which!r} of the model is {_described(chosen)}; scores, probabilities and predicted values must be"
            f" floating point, not labels or counts; {_others(raw, chosen)}"
        )
    return chosen


def _others(raw: Any, chosen: Tensor) -> str:
    """The other outputs of a model, and how to choose one."""
    named = dict(raw) if isinstance(raw, dict) else dict(enumerate(raw)) if not isinstance(raw, Tensor) else {}
    others = {name: value for name, value in named.items() if value is not chosen}
    if not others:
        return "return scores from the model (for class labels, remove argmax; for numbers, call .float())"
    suitable = [name for name, value in others.items() if isinstance(value, Tensor) and value.is_floating_point()]
    listed = ", ".join(f"{name!r} is {_described(value)}" for name, value in others.items())
    return f"of the other outputs, {listed}" + (f"; set output to {suitable[0]!r}" if suitable else "")


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, not a tensor"
    return f"{dtype_text(value.dtype)} {shape_text(value.shape)}"
