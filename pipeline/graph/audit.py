"""Refuse a graph that names anything outside the allow-lists, before any of it is built."""

from collections.abc import Collection, Mapping
from typing import Any

from ...schemas.graph import DictArg, DtypeArg, Graph, Layer, Node, NodeRef, SliceArg, TupleArg
from ..errors import BundleError
from . import operations
from .effects import audit_effects, audit_shortened_tables
from .operators import argument_types, operators, sets_storage
from .packing import audit_packing

#: Arguments that would move a result to another device, or overwrite an existing one.
_NOT_ALLOWED = {"device", "out", "inplace"}
_DEPTH = 50


def audit(graph: Graph) -> None:
    """Check a graph against the allow-lists.

    Raises:
        BundleError: it names anything outside the lists, or uses a result before it is computed.
    """
    known = set(graph.inputs)
    if len(known) != len(graph.inputs):
        raise BundleError("graph.json: two inputs have the same name")
    for path, layer in graph.layers.items():
        _audit_layer(path, layer)
    devices = {node.name for node in graph.nodes if node.op == "attribute" and node.target == "device"}
    for node in graph.nodes:
        if node.name in known:
            raise BundleError(f"graph.json: node {node.name!r} appears twice")
        if node.op == "operator":
            _audit_operator(node, devices)
        else:
            _audit_target(node, graph, devices)
        audit_effects(node)
        _audit_references([node.args, node.kwargs], known, node.name)
        known.add(node.name)
    _audit_references(graph.output, known, "output")
    audit_packing(graph)
    audit_shortened_tables(graph)
    unused = set(graph.layers) - {node.target for node in graph.nodes if node.op == "layer"}
    if unused:
        raise BundleError(f"graph.json: layer {min(unused)!r} is never called")


def _audit_layer(path: str, layer: Layer) -> None:
    if layer.type not in operations.LAYERS:
        raise BundleError(f"graph.json: layer {path!r} is a {layer.type!r}, which is not on the allow-list")
    allowed = operations.layer_parameters(operations.LAYERS[layer.type])
    if path.count(".") > _DEPTH:
        raise BundleError(f"graph.json: layer {path[:80]!r} is nested too deeply")
    unknown = [name for name in layer.args if name not in allowed]
    if unknown:
        raise BundleError(f"graph.json: layer {path!r} has an unknown argument {unknown[0]!r}")


def _audit_target(node: Node, graph: Graph, devices: Collection[str]) -> None:
    lists: dict[str, Mapping[str, Any]] = {
        "layer": graph.layers,
        "function": operations.FUNCTIONS,
        "method": operations.METHODS,
        "attribute": operations.ATTRIBUTES,
    }
    if node.op == "tensor":
        if not all(part.isidentifier() or part.isdigit() for part in node.target.split(".")):
            raise BundleError(f"graph.json: node {node.name!r} names the tensor {node.target!r}, which is not a path")
    elif node.target not in lists[node.op]:
        raise BundleError(
            f"graph.json: node {node.name!r} calls the {node.op} {node.target!r}, which is not on the allow-list"
        )
    if node.target in ("torch.where", "where") and len(node.args) + len(node.kwargs) != 3:
        raise BundleError(f"graph.json: node {node.name!r} calls {node.target}, whose result then depends on values")
    misplaced = [
        name
        for name, value in node.kwargs.items()
        if name in _NOT_ALLOWED and value not in (None, False) and not _is_device(name, value, devices)
    ]
    if misplaced or (node.target == "to" and any(isinstance(value, str) for value in node.args)):
        raise BundleError(
            f"graph.json: node {node.name!r} sets where its result is stored ({misplaced or node.args[1:]})"
        )
    if node.op in ("method", "attribute") and not (node.args and isinstance(node.args[0], NodeRef)):
        raise BundleError(f"graph.json: node {node.name!r} has no tensor to call {node.target!r} on")


def _audit_operator(node: Node, devices: Collection[str]) -> None:
    if node.target not in operators():
        raise BundleError(
            f"graph.json: node {node.name!r} calls the operator {node.target!r}, which is not on the allow-list"
        )
    try:
        arguments = argument_types(node.target, node.args, node.kwargs)
    except ValueError as error:
        raise BundleError(f"graph.json: node {node.name!r}: {error}") from error
    for name, kind, value in arguments:
        if sets_storage(name) and not _is_device(name, value, devices):
            raise BundleError(f"graph.json: node {node.name!r} sets where its result is stored ({name})")
        if "ScalarType" in kind and not (value is None or isinstance(value, DtypeArg)):
            raise BundleError(f"graph.json: node {node.name!r} has a {name} that is not a dtype")


def _is_device(name: str, value: Any, devices: Collection[str]) -> bool:
    """Whether an argument is the device of an input or result."""
    return name == "device" and isinstance(value, NodeRef) and value.node in devices


def _audit_references(value: Any, known: set[str], where: str) -> None:
    match value:
        case NodeRef():
            if value.node not in known:
                raise BundleError(f"graph.json: {where!r} uses {value.node!r} before it is computed")
        case list() | tuple():
            for entry in value:
                _audit_references(entry, known, where)
        case dict():
            _audit_references(list(value.values()), known, where)
        case TupleArg():
            _audit_references(value.tuple, known, where)
        case DictArg():
            _audit_references(list(value.mapping.values()), known, where)
        case SliceArg():
            _audit_references(value.slice, known, where)
        case DtypeArg():
            if value.dtype not in operations.DTYPES:
                raise BundleError(
                    f"graph.json: {where!r} names the dtype {value.dtype!r}, which is not on the allow-list"
                )
