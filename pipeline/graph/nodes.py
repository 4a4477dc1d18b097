"""The parts of a graph that a module becomes, whichever way it is captured: names, paths, arguments and layers as data.
Independent of files.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ...schemas.graph import DictArg, DtypeArg, EllipsisArg, FloatArg, Layer, NodeRef, SliceArg, TupleArg
from ..errors import BundleError, one_line
from . import operations
from .interpreter import is_reserved
from .user_lines import line_text

HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class NeverDataError(BundleError):
    """The module does what neither torch.fx nor torch.export sees."""


class NotExportedError(Exception):
    """torch.export does not capture the module.

    Args:
        reason: why, in torch's words.
        line: the user's line as `line_text` writes it; empty if torch names none.
    """

    def __init__(self, reason: str, line: str = "") -> None:
        super().__init__(reason)
        self.line = line


def safe_paths(targets: Iterable[str]) -> dict[str, str]:
    """Every layer's and tensor's path in the model → its path in the graph: the same, except for names that are
    not identifiers (columns as keys of a ModuleDict) or that are attributes of every module."""
    paths: dict[str, str] = {}
    for target in targets:
        path = safe_path(target)
        while path in {other for own, other in paths.items() if own != target}:
            path += "_"
        paths[target] = path
    return paths


def safe_path(target: str) -> str:
    """A path in the model with names that a graph may have."""
    return ".".join(_safe_name(part) for part in target.split("."))


def _safe_name(part: str) -> str:
    part = re.sub(r"[^A-Za-z0-9_]", "_", part)
    usable = (part.isidentifier() or part.isdigit()) and not is_reserved(part)
    return part if usable else f"n_{part}"


def node_name(node: fx.Node) -> str:
    """The node's name; where deep nesting has made it long, shortened and numbered to keep it unique."""
    if len(node.name) <= 100:
        return node.name
    return f"{node.name[:80]}_{list(node.graph.nodes).index(node)}_"


def is_listed(module: nn.Module) -> bool:
    """Whether a module is one of the layers that a graph may call, with the forward of its class."""
    return operations.LAYERS.get(type(module).__name__) is type(module) and "forward" not in vars(module)


def layer_record(layer: nn.Module, node: fx.Node, path: str, tensors: dict[str, torch.Tensor]) -> Layer:
    """A layer with the arguments that build it again; its tensors are added to `tensors`."""
    if any(getattr(layer, hooks) for hooks in HOOKS):
        raise refusal(
            node,
            f"has forward hooks on layer {path!r} (weight_norm is one)",
            "remove them, or use remove_weight_norm, before saving",
        )
    tensors |= {f"{path}.{name}": tensor for name, tensor in layer.state_dict().items()}
    try:
        arguments = operations.layer_arguments(layer)
    except (KeyError, AttributeError) as error:  # such as a TransformerEncoderLayer with a custom activation
        raise refusal(
            node,
            f"has a {type(layer).__name__} {path!r} with an argument that is neither number nor name"
            f" ({one_line(error)})",
            "build it with arguments that torch has names for",
        ) from error
    return Layer(
        type=type(layer).__name__,
        args={name: encoded(value, node) for name, value in arguments.items()},
    )


def encoded(value: Any, node: fx.Node) -> Any:
    """An argument of a node as data. Raises BundleError for one that data cannot express."""
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else FloatArg(float=str(value))
        case fx.Node():
            return NodeRef(node=node_name(value))
        case tuple():
            return TupleArg(tuple=[encoded(entry, node) for entry in value])
        case list():
            return [encoded(entry, node) for entry in value]
        case dict():
            return DictArg(mapping={str(name): encoded(entry, node) for name, entry in value.items()})
        case slice():
            return SliceArg(slice=tuple(encoded(end, node) for end in (value.start, value.stop, value.step)))
        case torch.dtype() if value in operations.DTYPE_NAMES:
            return DtypeArg(dtype=operations.DTYPE_NAMES[value])
    if value is Ellipsis:
        return EllipsisArg(ellipsis=True)
    raise refusal(node, f"passes a {type(value).__name__} ({value})", "pass numbers, text or tensors")


def refusal(node: fx.Node, what: str, help_text: str) -> BundleError:
    """The error for a node that cannot be kept, with the user's own line."""
    return BundleError(f"the model {what}{line_text(node.meta['line'])}, which cannot be kept as data; {help_text}")


def called(target: Any) -> str:
    """The name of a function."""
    module = getattr(target, "__module__", None) or ""
    return f"{module}.{getattr(target, '__name__', target)}".strip(".")
