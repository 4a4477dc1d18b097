"""Keeps recurrent layers as single operators while torch.export runs a module. It would run them step by step, and so
accept one number of steps only.

Each layer's function is replaced by an operator of our own, of which torch.export knows the shapes of the results and
nothing else. In the graph, the operator of torch takes its place again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import rnn

from .recurrent_bounds import RECURRENT

_ARGUMENTS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"
_LIBRARY: Any = torch.library.Library("scoreline", "FRAGMENT")  # type: ignore[no-untyped-call]
#: The operators that stand in for others, with the names of those.
STAND_INS: dict[Any, str] = {}


def _define(name: str, *, of_lists: bool) -> None:
    """An operator with the arguments of `aten.NAME.input`."""
    state, made = ("Tensor[] hx", "(Tensor, Tensor, Tensor)") if of_lists else ("Tensor hx", "(Tensor, Tensor)")
    _LIBRARY.define(f"{name}(Tensor input, {state}, Tensor[] params, {_ARGUMENTS}) -> {made}")
    _LIBRARY.impl(name, getattr(torch.ops.aten, name).input, "CompositeExplicitAutograd")
    torch.library.register_fake(f"scoreline::{name}", _shapes, lib=_LIBRARY)
    STAND_INS[getattr(torch.ops.scoreline, name).default] = f"aten.{name}.input"


def _shapes(given: Tensor, states: Any, *others: Any) -> tuple[Tensor, ...]:
    """Results in the shapes that `torch.nn.RNNBase` documents: the outputs of all steps, and the last states."""
    bidirectional = others[5]  # after the weights
    several = [states] if isinstance(states, Tensor) else list(states)
    width = several[0].shape[-1] * (2 if bidirectional else 1)
    return given.new_empty((*given.shape[:-1], width)), *(torch.empty_like(state) for state in several)


class _Functions:
    """Stands in for `torch._VF` in the modules of recurrent layers."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._functions, name)


def _replaced(name: str, function: Any) -> Any:
    stand_in = getattr(torch.ops.scoreline, name).default

    def call(*args: Any) -> Any:
        if not isinstance(args[2], list | tuple):  # packed sequences
            return function(*args)
        states = args[1] if isinstance(args[1], Tensor) else list(args[1])
        return stand_in(args[0], states, list(args[2]), *args[3:])

    return call


for _name in RECURRENT:
    _define(_name, of_lists=_name == "lstm")


@contextmanager
def whole_recurrent_layers() -> Iterator[None]:
    """Let recurrent layers be recorded as single operators."""
    module: Any = rnn
    before = module._VF
    functions = _Functions(before)
    for name in RECURRENT:
        setattr(functions, name, _replaced(name, getattr(before, name)))
    module._VF = functions
    try:
        yield
    finally:
        module._VF = before
