"""Upper bounds on how many numbers an ATen operator makes: its shapes are computed by torch on the meta device, where
tensors have no memory. Independent of graphs."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from .bounds import most_numbers
from .result_sizes import Kwargs, argument, tensors_of

#: Operators with intermediate results that are larger than what they take and return.
_WITHIN = ("bilinear", "einsum", "scaled_dot_product_attention")
_RECURRENT = ("gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell")


def most_numbers_of_operator(operator: Any, name: str, args: Sequence[Any], kwargs: Kwargs) -> int:
    """The bound for one call of an operator. `name`: that of all its overloads, as in `add`.

    Raises:
        Exception: as the operator itself would, for arguments that it does not accept.
    """
    meta = {key: "meta" if key == "device" else _without_memory(value) for key, value in kwargs.items()}
    results = operator(*(_without_memory(value) for value in args), **meta)
    made = sum(tensor.numel() * max(1, tensor.element_size() // 4) for tensor in tensors_of([results]))
    if name in _WITHIN:
        return max(made, most_numbers(name, args, kwargs))
    if name in _RECURRENT:
        return max(made, _gates(args, kwargs))
    return made


def _without_memory(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, list | tuple):
        return type(value)(_without_memory(entry) for entry in value)
    return value


def _gates(args: Sequence[Any], kwargs: Kwargs) -> int:
    """The gates of all steps: for each direction as many as the first weight has rows."""
    given, weights = args[0], [tensor for tensor in tensors_of([*args[1:], *kwargs.values()]) if tensor.ndim == 2]
    rows = prod(given.shape[:-1])
    widest = max((int(weight.shape[0]) for weight in weights), default=1)
    both = 2 if argument(args, kwargs, 7, "bidirectional", False) else 1
    return rows * widest * both
