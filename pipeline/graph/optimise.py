"""Turns a graph as it was saved into the graph that is run: layers that only training needs are dropped, BatchNorm is
folded into an adjacent Linear, and activations overwrite their input. The saved graph is not changed. Independent of
files.

In eval mode BatchNorm is `x·s + t` with `s = γ / √(σ² + ε)` and `t = β − μ·s` (Ioffe and Szegedy 2015), so
`W(x·s + t) + b = (W·s) x + (W t + b)`, and `(Wx + b)·s + t = (s·W) x + (b·s + t)`. Computed in float64, once.
Scalers are not folded: on values like timestamps that loses everything.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...schemas.graph import DictArg, Graph, Layer, Node, NodeRef, SliceArg, TupleArg
from .effects import is_in_place
from .program import referenced

#: Means further from zero than this many standard deviations are not folded: the folded Linear would subtract large
#: numbers after it multiplies, where BatchNorm subtracts them before.
MOST_DEVIATIONS = 30.0
#: Layers that do nothing in eval mode.
IDLE = {"Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout", "Identity"}
#: Activations that can overwrite their input, which saves an allocation of the size of a block's widest layer: up to a
#: third of the forward pass (measured).
OVERWRITING = {"ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "SiLU", "Mish", "Hardtanh", "Hardswish"}
#: ReLU as a function or method.
RELU = {"function": {"torch.relu", "functional.relu"}, "method": {"relu"}}
#: Layers whose result is a new tensor, not a view.
FRESH = {"Linear", "Bilinear", "Conv1d", "Conv2d", "BatchNorm1d", "BatchNorm2d", "LayerNorm"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A graph and its tensors, ready to be built. `dropped`, `folded`: how many layers are no longer run."""

    graph: Graph
    tensors: Mapping[str, Tensor]
    dropped: int = 0
    folded: int = 0


def prepare(graph: Graph, tensors: Mapping[str, Tensor], flat: frozenset[str]) -> Prepared:
    """Drop and fold every layer that can be.

    Args:
        flat: the nodes whose results are `[rows, width]`; elsewhere, BatchNorm and Linear work along different axes.
    """
    draft = _Draft(graph, dict(tensors))
    dropped = sum(draft.drop(node) for node in graph.nodes if _layer_type(graph, node) in IDLE)
    folded = sum(draft.fold(node, flat) for node in graph.nodes if _layer_type(graph, node) == "BatchNorm1d")
    for node in graph.nodes:
        draft.overwrite(node)
    return Prepared(graph=draft.graph(), tensors=draft.tensors, dropped=dropped, folded=folded)


def _layer_type(graph: Graph, node: Node) -> str | None:
    return graph.layers[node.target].type if node.op == "layer" else None


class _Draft:
    """A graph that is being changed."""

    def __init__(self, graph: Graph, tensors: dict[str, Tensor]) -> None:
        self._saved = graph
        self._layers = dict(graph.layers)
        self._nodes = {node.name: node for node in graph.nodes}
        self._replacements: dict[str, str] = {}
        self.tensors = tensors
        self._calls = Counter(node.target for node in graph.nodes if node.op == "layer")

    def graph(self) -> Graph:
        """The changed graph, without the layers that are no longer called."""
        nodes = [self._renamed(node) for node in self._nodes.values()]
        used = {node.target for node in nodes if node.op == "layer"}
        return self._saved.model_copy(
            update={
                "nodes": nodes,
                "layers": {path: layer for path, layer in self._layers.items() if path in used},
                "output": _replaced(self._saved.output, self._replacements),
            }
        )

    def drop(self, node: Node) -> bool:
        """Remove a node; nodes that used its result use its input instead. Returns whether that was possible."""
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], NodeRef):
            return False
        self._bypass(node)
        return True

    def fold(self, node: Node, flat: frozenset[str]) -> bool:
        """Fold a BatchNorm into the Linear before or after it. Returns whether that was possible."""
        if node.name not in flat or self._calls[node.target] != 1 or self._is_read(node.target):
            return False
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], NodeRef):
            return False
        scale, shift = self._scale_and_shift(node.target)
        if scale is None or shift is None:
            return False
        before = self._nodes.get(self._resolved(node.args[0].node))
        users = self._users(node.name)
        after = self._nodes.get(users[0]) if len(users) == 1 else None  # also None where that is the output
        if before is not None and self._is_own_linear(before) and self._users(before.name) == [node.name]:
            weight, bias = self._linear(before.target)
            self._set_linear(before.target, weight * scale[:, None], bias * scale + shift)
        elif after is not None and self._is_own_linear(after) and not self._is_overwritten(node, after):
            weight, bias = self._linear(after.target)
            self._set_linear(after.target, weight * scale, bias + weight @ shift)
        else:
            return False
        for name in [name for name in self.tensors if name.rpartition(".")[0] == node.target]:
            del self.tensors[name]
        self._bypass(node)
        return True

    def overwrite(self, node: Node) -> None:
        """Let an activation overwrite its argument, where that is a new tensor that no other node reads."""
        layer = self._layers[node.target] if node.op == "layer" else None
        if layer is None and node.target in RELU.get(node.op, ()):
            layer = Layer(type="ReLU")
        if layer is None or layer.type not in OVERWRITING or self._calls[node.target] > 1:
            return
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], NodeRef):
            return
        source = self._nodes.get(self._resolved(node.args[0].node))
        if source is None or source.op != "layer" or self._layers[source.target].type not in FRESH:
            return
        if self._users(source.name) != [node.name]:
            return
        path = node.target if node.op == "layer" else f"overwriting_{node.name}"
        while node.op != "layer" and path in self._layers:
            path += "_"
        self._layers[path] = Layer(type=layer.type, args={**layer.args, "inplace": True})
        self._nodes[node.name] = node.model_copy(update={"op": "layer", "target": path})

    def _is_overwritten(self, node: Node, after: Node) -> bool:
        """Whether something is overwritten between two nodes, which may be what the first one reads."""
        names = list(self._nodes)
        between = names[names.index(node.name) : names.index(after.name)]
        return any(is_in_place(self._nodes[name], self._saved) for name in between)

    def _scale_and_shift(self, path: str) -> tuple[Tensor | None, Tensor | None]:
        mean, variance = self.tensors.get(f"{path}.running_mean"), self.tensors.get(f"{path}.running_var")
        eps = self._layers[path].args.get("eps", 1e-5)
        if mean is None or variance is None or not isinstance(eps, int | float):
            return None, None
        ones = torch.ones_like(mean)
        gamma, beta = self.tensors.get(f"{path}.weight", ones), self.tensors.get(f"{path}.bias", 0 * ones)
        deviation = torch.sqrt(variance.double() + eps)
        if not bool((mean.double().abs() <= MOST_DEVIATIONS * deviation).all()):
            return None, None
        scale = gamma.double() / deviation
        if not bool(torch.isfinite(scale).all()):
            return None, None
        return scale, beta.double() - mean.double() * scale

    def _is_own_linear(self, node: Node) -> bool:
        """Whether a node is a Linear that is called once, with tensors that no other node uses."""
        if node.op != "layer" or self._layers[node.target].type != "Linear" or self._calls[node.target] != 1:
            return False
        return not self._is_read(node.target)

    def _is_read(self, path: str) -> bool:
        """Whether a node uses a tensor of the layer directly."""
        return any(node.op == "tensor" and node.target.startswith(f"{path}.") for node in self._nodes.values())

    def _linear(self, path: str) -> tuple[Tensor, Tensor]:
        weight = self.tensors[f"{path}.weight"].double()
        bias = self.tensors.get(f"{path}.bias")
        return weight, torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.double()

    def _set_linear(self, path: str, weight: Tensor, bias: Tensor) -> None:
        dtype = self.tensors[f"{path}.weight"].dtype
        self.tensors[f"{path}.weight"] = weight.to(dtype).contiguous()
        self.tensors[f"{path}.bias"] = bias.to(dtype)
        layer = self._layers[path]
        self._layers[path] = Layer(type=layer.type, args={**layer.args, "bias": True})

    def _users(self, name: str) -> list[str]:
        """The names of the nodes that use a node's result, once per use; '' is the output of the graph."""
        found = [
            node.name
            for node in self._nodes.values()
            for used in referenced([node.args, node.kwargs])
            if self._resolved(used) == name
        ]
        return found + [""] * sum(self._resolved(used) == name for used in referenced(self._saved.output))

    def _bypass(self, node: Node) -> None:
        source = node.args[0]
        assert isinstance(source, NodeRef), "checked by the callers"
        self._replacements[node.name] = source.node
        self._calls[node.target] -= 1
        del self._nodes[node.name]

    def _resolved(self, name: str) -> str:
        while name in self._replacements:
            name = self._replacements[name]
        return name

    def _renamed(self, node: Node) -> Node:
        return node.model_copy(
            update={
                "args": _replaced(node.args, self._replacements),
                "kwargs": _replaced(node.kwargs, self._replacements),
            }
        )


def _replaced(value: Any, replacements: Mapping[str, str]) -> Any:
    """An argument in which references to removed nodes name their inputs."""
    match value:
        case NodeRef():
            name = value.node
            while name in replacements:
                name = replacements[name]
            return NodeRef(node=name)
        case list():
            return [_replaced(entry, replacements) for entry in value]
        case dict():
            return {name: _replaced(entry, replacements) for name, entry in value.items()}
        case TupleArg():
            return TupleArg(tuple=_replaced(value.tuple, replacements))
        case DictArg():
            return DictArg(mapping=_replaced(value.mapping, replacements))
        case SliceArg():
            return SliceArg(slice=tuple(_replaced(list(value.slice), replacements)))
    return value
