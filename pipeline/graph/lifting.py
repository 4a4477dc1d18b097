"""Finds the calls of simple layers among the operators of an exported graph, and puts one node that calls the layer in
place of the operators of each call.

So an exported graph has the same layers, under the same paths, as a traced one: their BatchNorm is folded, their
results have names, their precision can be reduced, and the columns that an Embedding takes are known. Layers with
several arguments or results, such as attention and recurrent ones, stay operators. Independent of files.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from .nodes import HOOKS, is_listed

#: Layers that take or return more than one tensor.
_SEVERAL = ("Bilinear", "CosineSimilarity", "GRU", "LSTM", "MultiheadAttention", "RNN", "TransformerEncoderLayer")
#: A call of a module: the keys and paths of the modules around it and its own.
_Call = tuple[tuple[str, str], ...]


def lift(graph: fx.Graph, model: nn.Module, targets: Mapping[str, str]) -> None:
    """Replace the operators of each call of a simple layer, in place.

    Args:
        targets: the path of the tensor of each placeholder that is not an input.
    """
    calls: dict[_Call, list[fx.Node]] = {}
    for node in graph.nodes:
        call = _layer_call(node, model) if node.op == "call_function" else None
        if call is not None:
            calls.setdefault(call, []).append(node)
    paths: dict[int, str] = {}
    for call, nodes in calls.items():
        layer = model.get_submodule(call[-1][1])
        given, made = _arguments(nodes, layer, model, targets), _results(nodes)
        if len(given) != 1 or len(made) != 1 or not _computes(layer, given[0], made[0]):
            continue
        result = made[0]
        with graph.inserting_after(nodes[-1]):
            path = paths.setdefault(id(layer), call[-1][1])
            lifted = graph.create_node("call_module", path, (given[0],), name=path.replace(".", "_"))
        lifted.meta = dict(result.meta)
        result.replace_all_uses_with(lifted)
        for node in reversed(nodes):
            graph.erase_node(node)


def module_of_result(node: fx.Node) -> str:
    """The path of the innermost module whose result a node computes; empty where there is none but the model."""
    own = _paths(node)
    for depth in range(len(own), 1, -1):
        inside = own[:depth]
        if all(_paths(user)[:depth] != inside for user in node.users):
            return inside[-1][1]
    return ""


def _paths(node: fx.Node) -> _Call:
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    return tuple((key, path) for key, (path, _) in stack.items())


def _layer_call(node: fx.Node, model: nn.Module) -> _Call | None:
    """The outermost call of a simple layer that a node belongs to."""
    stack = _paths(node)
    for depth, (_, path) in enumerate(stack, start=1):
        try:
            module = model.get_submodule(path)
        except AttributeError:  # a name of torch.export's own
            return None
        if is_listed(module) and type(module).__name__ not in _SEVERAL and not any(getattr(module, h) for h in HOOKS):
            return stack[:depth]
    return None


def _arguments(
    nodes: Sequence[fx.Node], layer: nn.Module, model: nn.Module, targets: Mapping[str, str]
) -> list[fx.Node]:
    """What a call takes, apart from the layer's own tensors."""
    own = {id(tensor) for tensor in (*layer.parameters(), *layer.buffers())}
    inside = set(nodes)
    given = dict.fromkeys(one for node in nodes for one in node.all_input_nodes if one not in inside)
    return [one for one in given if id(_tensor(model, targets.get(one.name))) not in own]


def _tensor(model: nn.Module, path: str | None) -> torch.Tensor | None:
    """The parameter or buffer at a path."""
    if path is None:
        return None
    parent, _, name = path.rpartition(".")
    try:
        found = getattr(model.get_submodule(parent), name)
    except AttributeError:  # a constant
        return None
    return found if isinstance(found, torch.Tensor) else None


def _computes(layer: nn.Module, given: fx.Node, made: fx.Node) -> bool:
    """Whether a layer makes a result of the same shape and dtype from the argument alone. It may have been called with
    more arguments that are numbers, as in `ConvTranspose2d(x, output_size)`, or with autocast."""
    argument, result = _without_memory(given.meta.get("val")), _without_memory(made.meta.get("val"))
    if argument is None or result is None:
        return False
    try:
        with torch.no_grad():
            weights = {id(tensor): tensor.to("meta") for tensor in (*layer.parameters(), *layer.buffers())}
            found = copy.deepcopy(layer, weights)(argument)
    except Exception:  # whatever a layer raises on an argument that it does not accept
        return False
    return isinstance(found, torch.Tensor) and found.shape == result.shape and found.dtype == result.dtype


def _without_memory(example: Any) -> torch.Tensor | None:
    """A tensor of the shape and dtype that torch.export recorded, with the sizes of the example that it was given."""
    if not isinstance(example, torch.Tensor):
        return None
    sizes = [size.node.hint if isinstance(size, torch.SymInt) else size for size in example.shape]
    if None in sizes:  # a size that depends on values
        return None
    return torch.empty(sizes, dtype=example.dtype, device="meta")


def _results(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    """The results of a call that nodes outside it use."""
    inside = set(nodes)
    return [node for node in nodes if any(user not in inside for user in node.users)]
