"""Calls of a graph that do more than compute a result: those that would change a tensor that outlives the pass are
refused, or get a copy of it; those that draw random numbers are refused. Otherwise a row's scores would depend on the
rows before it, or on chance. Independent of values.
"""

import inspect
from collections import Counter
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from ...schemas.graph import Graph, Node, NodeRef
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


#: Layers that return their input, or a view of it.
_PASSING_ON = {
    *("Identity", "Flatten", "Unflatten", "Dropout", "Dropout1d", "Dropout2d", "AlphaDropout"),
    *("FeatureAlphaDropout",),
}
#: Functions that always make a new tensor, by the last part of their name; the result of others may be a view.
_MAKING = {
    *("add", "sub", "mul", "truediv", "matmul", "mod", "pow", "neg", "cat", "stack", "concat", "linear", "conv1d"),
    *("conv2d", "mm", "bmm", "addmm", "baddbmm", "div", "divide", "multiply", "subtract", "maximum", "minimum"),
    *("layer_norm", "group_norm", "batch_norm", "rms_norm", "embedding", "softmax", "log_softmax", "tanh", "sigmoid"),
    *("exp", "sqrt", "rsqrt", "square", "sum", "mean", "gelu", "silu", "scaled_dot_product_attention", "where"),
}
#: What returns several tensors, or a list of them.
_SEVERAL = {"RNN", "GRU", "LSTM", "MultiheadAttention"}


def is_in_place(node: Node, graph: Graph) -> bool:
    """Whether a node overwrites its argument: `+=`, or an activation with `inplace`."""
    if node.op == "layer":
        return bool(graph.layers[node.target].args.get("inplace"))
    return node.op == "function" and node.target in operations.IN_PLACE


def copying_nodes(graph: Graph) -> set[str]:
    """The nodes that get copies of their arguments, because they would overwrite what may be a weight, or a view of
    one. No trained model does, but some operation between may return either a view or a new tensor.

    Raises:
        BundleError: what one of them overwrites is read again, so that a copy would make a difference.
    """
    users = Counter(used for node in graph.nodes for used in referenced([node.args, node.kwargs]))
    users.update(referenced(graph.output))
    shared, tensors, copying = set[str](), set(graph.inputs), set[str]()
    for node in graph.nodes:
        new = _makes_one(node, graph, tensors)
        if new or node.op == "tensor":
            tensors.add(node.name)
        if node.op == "tensor":
            shared.add(node.name)
        elif is_in_place(node, graph):
            overwritten = shared & set(referenced(node.args[:1] if node.op == "function" else [node.args, node.kwargs]))
            if any(users[name] > 1 for name in overwritten):
                raise BundleError(f"graph.json: node {node.name!r} overwrites a weight that other nodes read")
            if overwritten:
                copying.add(node.name)
        elif not new and shared & set(referenced([node.args, node.kwargs])):
            shared.add(node.name)
    return copying


def _makes_one(node: Node, graph: Graph, tensors: Collection[str]) -> bool:
    """Whether a node makes a single new tensor. `+` makes a list of two lists, which may have tensors among them.

    Args:
        tensors: the nodes whose result is a single tensor for sure.
    """
    if node.op == "layer":
        return graph.layers[node.target].type not in _PASSING_ON | _SEVERAL and not is_in_place(node, graph)
    if node.op not in ("function", "method", "operator") or short_name(node.target) not in _MAKING:
        return False
    return node.target != "operator.add" or any(
        isinstance(argument, NodeRef) and argument.node in tensors for argument in node.args
    )
