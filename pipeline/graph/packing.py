"""Packed sequences: rows of different lengths, of which recurrent layers see the real steps alone. Independent of
files.

A graph may pack a tensor, call recurrent layers with the result, and pad theirs again. Nothing else reads or makes a
packed sequence, since torch does not check all of its fields.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import rnn

from ...schemas.graph import Graph, Node, NodeRef
from ..errors import BundleError
from .program import referenced

PACK, PAD = "rnn.pack_padded_sequence", "rnn.pad_packed_sequence"
_RECURRENT = {"RNN", "GRU", "LSTM"}
_TO_HOST = {"cpu", "numpy", "tolist"}


def pack_padded_sequence(
    input: Tensor,  # noqa: A002 - torch's name
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,  # noqa: ARG001 - a row's results do not depend on the order of the rows
) -> rnn.PackedSequence:
    """`torch.nn.utils.rnn.pack_padded_sequence` of rows in any order, with lengths on any device.

    Raises:
        ValueError: the lengths are not one for each row, or exceed the steps, which torch does not check.
    """
    rows, steps = input.shape[:2] if batch_first else (input.shape[1], input.shape[0])
    lengths = torch.as_tensor(lengths).cpu()
    if lengths.shape != (rows,) or bool((lengths > steps).any()):
        raise ValueError(f"lengths {lengths.tolist()[:10]} do not fit {rows} rows of {steps} steps")
    return rnn.pack_padded_sequence(input, lengths, batch_first, enforce_sorted=False)


def pad_packed_sequence(sequence: rnn.PackedSequence, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """`torch.nn.utils.rnn.pad_packed_sequence`, with the lengths on the device of the steps."""
    steps, lengths = rnn.pad_packed_sequence(sequence, *args, **kwargs)
    return steps, lengths.to(steps.device)


FUNCTIONS: dict[str, Callable[..., Any]] = {PACK: pack_padded_sequence, PAD: pad_packed_sequence}
#: What torch.export does not follow, whatever else a module does; torch.fx has a better reason to refuse it.
NEVER_EXPORTED = tuple(function.__name__ for function in FUNCTIONS.values())


@contextmanager
def recorded_packing(model: nn.Module) -> Iterator[None]:
    """Let torch.fx record both functions, by the names that the methods of a model's modules have for them."""
    stand_ins: dict[Any, Any] = {
        getattr(rnn, function.__name__): _recorded(getattr(rnn, function.__name__), function)
        for function in FUNCTIONS.values()
    }
    found = [
        (names, name, value)
        for names in _names_of(model)
        for name, value in names.items()
        if isinstance(value, FunctionType) and value in stand_ins
    ]
    try:
        for names, name, value in found:
            names[name] = stand_ins[value]
        yield
    finally:
        for names, name, value in found:
            names[name] = value


def _names_of(model: nn.Module) -> list[dict[str, Any]]:
    """The global names of the methods of all modules, of the functions that have names there, and of torch's own
    module."""
    classes = {
        one for module in model.modules() for one in type(module).__mro__ if one.__module__.partition(".")[0] != "torch"
    }
    methods = [value for one in classes for value in vars(one).values() if isinstance(value, FunctionType)]
    own = {id(method.__globals__): method.__globals__ for method in methods}
    helpers = [value for names in own.values() for value in names.values() if isinstance(value, FunctionType)]
    return list({id(vars(rnn)): vars(rnn), **own, **{id(one.__globals__): one.__globals__ for one in helpers}}.values())


def _recorded(function: Callable[..., Any], stand_in: Callable[..., Any]) -> Callable[..., Any]:
    def record(*given: Any, **named: Any) -> Any:
        args, kwargs = tuple(map(_tensor, given)), {name: _tensor(value) for name, value in named.items()}
        traced = [value for value in (*args, *kwargs.values()) if isinstance(value, fx.Proxy)]
        if not traced:
            return function(*args, **kwargs)
        return traced[0].tracer.create_proxy("call_function", stand_in, args, kwargs)

    return record


def _tensor(value: Any) -> Any:
    """The tensor whose values on the host are passed, such as the lengths as a list."""
    while isinstance(value, fx.Proxy) and value.node.op == "call_method" and value.node.target in _TO_HOST:
        tensor: Any = value.node.args[0]
        value = fx.Proxy(tensor, value.tracer)
    return value


def audit_packing(graph: Graph) -> None:
    """Check that packed sequences go into recurrent layers, and are padded again.

    Raises:
        BundleError: names the node that does something else with one.
    """
    packed, pairs = set[str](), set[str]()  # a recurrent layer returns its steps, packed as well, and its last states
    for node in graph.nodes:
        first = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("sequence"))
        given = first.node if isinstance(first, NodeRef) else ""
        others = referenced([node.args, node.kwargs])
        if given in packed and (_is_recurrent(node, graph) or (node.op, node.target) == ("function", PAD)):
            others.remove(given)
            if node.op == "layer":
                pairs.add(node.name)
        elif given in pairs and (node.op, node.target) == ("function", "operator.getitem"):
            others.remove(given)
            if node.args[1:] not in ([1], [-1]):
                packed.add(node.name)
        elif (node.op, node.target) == ("function", PACK):
            packed.add(node.name)
        elif (node.op, node.target) == ("function", PAD):
            raise BundleError(f"graph.json: node {node.name!r} pads what is not a packed sequence")
        _refuse(node.name, others, packed | pairs)
    _refuse("output", referenced(graph.output), packed | pairs)


def _is_recurrent(node: Node, graph: Graph) -> bool:
    return node.op == "layer" and graph.layers[node.target].type in _RECURRENT


def _refuse(where: str, names: list[str], packed: set[str]) -> None:
    wrong = [name for name in names if name in packed]
    if wrong:
        raise BundleError(
            f"graph.json: {where!r} uses the packed sequence {wrong[0]!r}, which only recurrent layers and"
            " pad_packed_sequence can"
        )
