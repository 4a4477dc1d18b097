"""A program in half precision: the float32 tensors that it makes itself follow the precision of weights and inputs.
Independent of modules.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ...schemas.graph import NodeRef
from .operators import short_name
from .program import Program, Step

#: Operations whose floating-point tensors must all have the same dtype.
_PRODUCTS = frozenset(
    ("addbmm", "addmm", "baddbmm", "bilinear", "bmm", "conv1d", "conv2d", "conv3d", "convolution", "dot", "einsum",
     "gru", "linear", "lstm", "matmul", "mm", "mv", "rnn_relu", "rnn_tanh", "scaled_dot_product_attention")
)  # fmt: skip


def reduced_program(program: Program, dtype: torch.dtype) -> Program:
    """The program for weights and inputs of a lower precision.

    Tensors that are made from sizes (`zeros`, `full`, `arange`), or from integers and booleans (`mask.float()`), are
    float32 whatever the weights are. They are converted, as is an input that is cast to float32, which it was already.
    Other casts to float32 are kept as far as the next layer or product.
    """
    inputs = set(program.inputs)
    for step in program.steps:
        if step.run is operator.getitem and _first(step) in inputs:  # of the dict of all inputs
            inputs.add(step.name)
    steps = (_reduced(step, dtype, of_input=_first(step) in inputs) for step in program.steps)
    return replace(program, steps=tuple(steps))


def in_dtype(value: Any, dtype: torch.dtype) -> Any:
    """An argument with its float32 tensors, also in lists of them, in another dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.dtype == torch.float32 else value
    if isinstance(value, PackedSequence):
        return value._replace(data=in_dtype(value.data, dtype))
    return type(value)(in_dtype(entry, dtype) for entry in value) if type(value) in (list, tuple) else value


def _first(step: Step) -> str | None:
    """The node that is the first argument of a step."""
    return step.args[0].node if step.args and isinstance(step.args[0], NodeRef) else None


def _reduced(step: Step, dtype: torch.dtype, *, of_input: bool) -> Step:
    run: Callable[..., Any] = step.run
    if step.op not in ("function", "method", "operator"):
        return step
    is_product = short_name(step.target) in _PRODUCTS

    @functools.wraps(run, assigned=("__name__",), updated=())
    def converted(*args: Any, **kwargs: Any) -> Any:
        given = {tensor.dtype for tensor in _floats((*args, *kwargs.values()))}
        if is_product and len(given) > 1:
            args, kwargs = in_dtype(args, dtype), {name: in_dtype(value, dtype) for name, value in kwargs.items()}
        made = run(*args, **kwargs)
        return in_dtype(made, dtype) if of_input or not given else made

    return replace(step, run=converted)


def _floats(values: Iterable[Any]) -> Iterator[Tensor]:
    """The floating-point tensors among arguments, and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            if value.is_floating_point():
                yield value
        elif isinstance(value, list | tuple):
            yield from _floats(value)
