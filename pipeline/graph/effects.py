"""Calls of a graph that do more than compute a result: those that would change a tensor that outlives the pass are
refused; those that draw random numbers are, too. Otherwise a row's scores would depend on the rows before it, or on
chance. What `+=` and activations overwrite is known when they run (`interpreter.py`). Independent of values.
"""

import inspect
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor

from ...schemas.graph import Graph, Node
from ..errors import BundleError
from . import operations
from .operators import argument_types, short_name
from .program import referenced

#: Arguments that must be off, by what they do.
_CHANGES = {
    **dict.fromkeys(("training", "train", "dropout_p"), "draws random numbers or changes running statistics"),
    "use_input_stats": "changes running statistics",
    "inplace": "overwrites its input",
    "out": "overwrites a tensor",
}
#: Functions without a signature that Python knows.
_PARAMETERS = {"functional.scaled_dot_product_attention": ("query", "key", "value", "attn_mask", "dropout_p")}
#: Normalization by the statistics of its own input, where there are none that it could change.
_NORMS = {"batch_norm", "instance_norm"}


def audit_effects(node: Node) -> None:
    """Check the arguments of a function or operator.

    Raises:
        BundleError: one of them is on that must be off, or is not known before the graph runs.
    """
    if node.op == "operator":
        given = {name: value for name, _, value in argument_types(node.target, node.args, node.kwargs)}
        defaults: Mapping[str, Any] = {}
    elif node.op in ("function", "method"):
        defaults = _defaults(node.op, node.target)
        given = {**defaults, **dict(zip(defaults, node.args, strict=False)), **node.kwargs}
    else:
        return
    own = short_name(node.target) in _NORMS and given.get("running_mean") is given.get("running_var") is None
    for name, value in given.items():
        if name not in _CHANGES or _is_off(value) or (own and name in ("training", "use_input_stats")):
            continue
        raise BundleError(f"graph.json: node {node.name!r} sets {name} of {node.target}, which {_CHANGES[name]}")


def _is_off(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, int | float) and value == 0)


@cache
def _defaults(op: str, target: str) -> Mapping[str, Any]:
    """The parameters of a function in their order, with their defaults; None where there is none."""
    if target in _PARAMETERS:
        return dict.fromkeys(_PARAMETERS[target])
    known = operations.FUNCTIONS if op == "function" else operations.METHODS
    try:
        parameters = inspect.signature(known[target]).parameters
    except ValueError:  # of a function in C++; none of the others has such an argument by position
        return {}
    return {
        name: None if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in parameters.items()
    }


def is_in_place(node: Node, graph: Graph) -> bool:
    """Whether a node overwrites its argument: `+=`, or an activation with `inplace`."""
    if node.op == "layer":
        return bool(graph.layers[node.target].args.get("inplace"))
    return node.op == "function" and node.target in operations.IN_PLACE


def audit_shortened_tables(graph: Graph, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Refuse an embedding that shortens rows of a table (`max_norm`) which is read in another way, too.

    Args:
        tensors: those of the module that is saved, by path: a table can have several there.

    Raises:
        BundleError: torch changes such a table when rows are looked up, and what others read depends on that.
    """
    names = _by_memory(tensors or {})
    paths = {node.name: names.get(node.target, node.target) for node in graph.nodes if node.op == "tensor"}
    tables = {path: f"{path}.weight" for path, layer in graph.layers.items() if layer.type == "Embedding"}
    tables = {path: names.get(table, table) for path, table in tables.items()}
    reads = Counter(paths[used] for node in graph.nodes for used in _used(node) if used in paths)
    reads.update(paths[used] for used in referenced(graph.output) if used in paths)
    reads.update(tables.values())
    others = [name for name in names if (owner := name.rpartition(".")[0]) in graph.layers and owner not in tables]
    reads.update(names[name] for name in others)
    for node in graph.nodes:
        if node.op == "layer" and graph.layers[node.target].args.get("max_norm") is not None:
            shared = reads[tables[node.target]] > 1
        elif node.op == "function" and node.target == "functional.embedding":
            given = {**dict(zip(_defaults(node.op, node.target), node.args, strict=False)), **node.kwargs}
            given_tables = [paths[used] for used in referenced(given.get("weight")) if used in paths]
            shared = given.get("max_norm") is not None and any(reads[path] > 1 for path in given_tables)
        else:
            continue
        if shared:
            raise BundleError(
                f"graph.json: node {node.name!r} shortens rows of a table (max_norm) that is read in another way, too;"
                " shorten them with torch.renorm before saving, and leave max_norm out"
            )


def _by_memory(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """One name for all tensors that share memory, by the name of each."""
    first: dict[int, str] = {}
    return {name: first.setdefault(tensor.untyped_storage().data_ptr(), name) for name, tensor in tensors.items()}


def _used(node: Node) -> list[str]:
    return referenced([node.args, node.kwargs])
