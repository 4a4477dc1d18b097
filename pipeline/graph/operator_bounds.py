"""Upper bounds on how many numbers an ATen operator makes: its shapes are computed by torch on the meta device, where
tensors have no memory. Independent of graphs."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from .bounds import most_numbers
from .recurrent_bounds import RECURRENT, most_numbers_of_recurrent
from .result_sizes import Kwargs, argument, tensors_of

#: Operators with intermediate results that are larger than what they take and return.
_WITHIN = ("bilinear", "cosine_similarity", "einsum", "matmul", "pairwise_distance", "scaled_dot_product_attention")
#: Recurrent operators of a single step.
_CELLS = ("gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell")
#: Of integers and float64 they copy the input once for each number of a kernel.
_CONVOLUTIONS = {f"{kind}{dims}d" for kind in ("conv", "conv_transpose") for dims in (1, 2, 3)} | {"convolution"}


def most_numbers_of_operator(operator: Any, name: str, args: Sequence[Any], kwargs: Kwargs) -> int:
    """The bound for one call of an operator. `name`: that of all its overloads, as in `add`.

    Raises:
        Exception: as the operator itself would, for arguments that it does not accept.
    """
    if name in RECURRENT:
        return most_numbers_of_recurrent(name, args, kwargs)
    given = {key: _without_memory(value) for key, value in kwargs.items()}
    if any(argument.name == "device" for argument in operator._schema.arguments):
        given["device"] = "meta"  # also of an operator that makes a tensor from sizes alone
    results: Any = operator(*(_without_memory(value) for value in args), **given)
    made = sum(tensor.numel() * max(1, tensor.element_size() // 4) for tensor in tensors_of([results]))
    if name in _WITHIN:
        return int(max(made, most_numbers(name, args, kwargs)))
    if name in _CELLS:
        return int(max(made, _gates(args, kwargs)))
    if name in _CONVOLUTIONS:
        return max(made, _copies(args, kwargs, next(tensors_of([results]))))
    return made


def _without_memory(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, list | tuple):
        return type(value)(_without_memory(entry) for entry in value)
    return value


def _gates(args: Sequence[Any], kwargs: Kwargs) -> int:
    """The gates of a single step: for each row as many as the weights have rows."""
    weights = [tensor for tensor in tensors_of([*args[2:], *kwargs.values()]) if tensor.ndim == 2]
    return int(prod(args[0].shape[:-1])) * max((int(weight.shape[0]) for weight in weights), default=1)


def _copies(args: Sequence[Any], kwargs: Kwargs, made: Tensor) -> int:
    """The columns that a convolution of integers or float64 multiplies with its kernels; other dtypes need none."""
    given, weight = argument(args, kwargs, 0, "input", None), argument(args, kwargs, 1, "weight", None)
    if given.is_floating_point() and given.element_size() < 8:
        return 0
    dims = weight.ndim - 2
    rows = given.shape[0] if given.ndim == weight.ndim else 1
    positions = max(prod(given.shape[-dims:]), prod(made.shape[-dims:]))
    groups = max(given.shape[-dims - 1], made.shape[-dims - 1]) // max(1, min(weight.shape[:2]))
    return int(rows * positions * weight[0].numel() * max(1, groups) * max(1, given.element_size() // 4))
