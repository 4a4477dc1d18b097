"""Refuse a graph that names anything off the lists, before anything of it is built."""

from collections.abc import Mapping
from typing import Any

from ...schemas.graph import DictArg, DtypeArg, Graph, Layer, Node, NodeRef, SliceArg, TupleArg
from ..errors import BundleError
from . import operations

#: Arguments that would move a result elsewhere, or change one that is there.
_NOT_ALLOWED = {"device", "out", "inplace"}
_DEPTH = 50


def audit(graph: Graph) -> None:
    """Refuse a graph that names what is not on the lists, or a result before it is there."""
    known = set(graph.inputs)
    if len(known) != len(graph.inputs):
        raise BundleError("graph.json: two inputs have the same name")
    for path, layer in graph.layers.items():
        _audit_layer(path, layer)
    for node in graph.nodes:
        if node.name in known:
            raise BundleError(f"graph.json: node {node.name!r} stands twice")
        _audit_target(node, graph)
        _auditreferenced([node.args, node.kwargs], known, node.name)
        known.add(node.name)
    _auditreferenced(graph.output, known, "output")
    unused = set(graph.layers) - {node.target for node in graph.nodes if node.op == "layer"}
    if unused:
        raise BundleError(f"graph.json: layer {min(unused)!r} is never called")


def _audit_layer(path: str, layer: Layer) -> None:
    if layer.type not in operations.LAYERS:
        raise BundleError(f"graph.json: layer {path!r} is a {layer.type!r}, which is not on the list")
    allowed = operations.layer_parameters(operations.LAYERS[layer.type])
    if path.count(".") > _DEPTH:
        raise BundleError(f"graph.json: layer {path[:80]!r} is nested too deep")
    unknown = [name for name in layer.args if name not in allowed]
    if unknown:
        raise BundleError(f"graph.json: layer {path!r} has an argument {unknown[0]!r}, which it does not take")


def _audit_target(node: Node, graph: Graph) -> None:
    lists: dict[str, Mapping[str, Any]] = {
        "layer": graph.layers,
        "function": operations.FUNCTIONS,
        "method": operations.METHODS,
        "attribute": operations.ATTRIBUTES,
    }
    if node.op == "tensor":
        if not all(part.isidentifier() or part.isdigit() for part in node.target.split(".")):
            raise BundleError(f"graph.json: node {node.name!r} names a tensor {node.target!r}; not a path")
    elif node.target not in lists[node.op]:
        raise BundleError(f"graph.json: node {node.name!r} calls the {node.op} {node.target!r}, not on the list")
    moved = [name for name in node.kwargs if name in _NOT_ALLOWED and node.kwargs[name] not in (None, False)]
    if moved or (node.target == "to" and any(isinstance(value, str) for value in node.args)):
        raise BundleError(f"graph.json: node {node.name!r} says where its result goes ({moved or node.args[1:]})")
    if node.op in ("method", "attribute") and not (node.args and isinstance(node.args[0], NodeRef)):
        raise BundleError(f"graph.json: node {node.name!r} has no tensor to call {node.target!r} of")


def _auditreferenced(value: Any, known: set[str], where: str) -> None:
    match value:
        case NodeRef():
            if value.node not in known:
                raise BundleError(f"graph.json: {where!r} uses {value.node!r} before it is there")
        case list() | tuple():
            for entry in value:
                _auditreferenced(entry, known, where)
        case dict():
            _auditreferenced(list(value.values()), known, where)
        case TupleArg():
            _auditreferenced(value.tuple, known, where)
        case DictArg():
            _auditreferenced(list(value.mapping.values()), known, where)
        case SliceArg():
            _auditreferenced(value.slice, known, where)
        case DtypeArg():
            if value.dtype not in operations.DTYPES:
                raise BundleError(f"graph.json: {where!r} names the dtype {value.dtype!r}, not on the list")
