"""Refuse calls of a graph that do more than compute a result: change a tensor that outlives the pass, or draw random
numbers. A row's scores would depend on the rows before it, or on chance. Independent of layers, which are in eval mode.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from ...schemas.graph import Node
from ..errors import BundleError
from . import operations
from .operators import argument_types, short_name

#: Arguments that must be off, by what they do.
_CHANGES = {
    **dict.fromkeys(("training", "train", "dropout_p"), "draws random numbers or changes running statistics"),
    "use_input_stats": "changes running statistics",
    "max_norm": "changes the embedding",
    "inplace": "overwrites its input",
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
    elif node.op == "function" and node.target.startswith("functional."):
        defaults = _defaults(node.target)
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
def _defaults(target: str) -> Mapping[str, Any]:
    """The parameters of a function in their order, with their defaults; None where there is none."""
    if target in _PARAMETERS:
        return dict.fromkeys(_PARAMETERS[target])
    try:
        parameters = inspect.signature(operations.FUNCTIONS[target]).parameters
    except ValueError:  # of a function in C++; none of the others has such an argument
        return {}
    return {
        name: None if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in parameters.items()
    }
