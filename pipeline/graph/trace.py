"""Turns a trained module into a graph, with `torch.fx`. Only used when a bundle is saved.

Tracing unrolls Python `if`s and loops over layers; what remains are calls of layers, functions and methods, which
must be on the lists of `operations.py`. Anything else is refused with the user's own line and advice. Independent of
files.
"""

import functools
import inspect
import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ...schemas.graph import Graph, Layer, Node
from ..errors import BundleError, one_line
from . import operations
from .assignments import recorded_assignments, refuse_shared_changes
from .nodes import HOOKS, called, encoded, is_listed, layer_record, node_name, refusal, safe_paths
from .packing import recorded_packing
from .user_lines import line_in_forward, line_of_error

_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Module")
_IN_PLACE_OPERATORS = {f"i{name}" for name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "matmul")}
_OP_NAMES = {"call_module": "layer", "get_attr": "tensor", "call_function": "function", "call_method": "method"}
#: The arguments of `to` that move a tensor to the CPU, as text.
_CPU = ("('cpu',)", "(device(type='cpu'),)")
#: torch.fx patches nn.Module while it traces.
_TRACE_LOCK = Lock()


def trace(
    model: nn.Module, num_inputs: int = 1, given: Sequence[Any] | None = None
) -> tuple[Graph, dict[str, torch.Tensor]]:
    """Trace a module into operations and tensors.

    Args:
        model: in eval mode, on the CPU. Tracing may add constants to it: pass a copy.
        num_inputs: how many of forward's arguments are inputs; the others keep their defaults.
        given: inputs that the module accepts, if there are any.

    Returns:
        The graph, and every tensor it names, contiguous and on the CPU.

    Raises:
        BundleError: the module does something that a graph cannot express; names the line.
    """
    _refuse_own_forward(model)
    traced = _traced(model, num_inputs)
    nodes = list(traced.nodes)
    live = live_nodes(nodes)
    refuse_shared_changes(model, traced, live, given)
    paths = safe_paths(str(node.target) for node in nodes if node.op in ("call_module", "get_attr"))
    layers: dict[str, Layer] = {}
    tensors: dict[str, torch.Tensor] = {}
    kept: list[Node] = []
    inputs: list[str] = []
    output = None
    for node in nodes:
        if node.op == "placeholder" and len(inputs) < num_inputs:
            inputs.append(node_name(node))
        elif node.op == "output":
            output = encoded(node.args[0], node)
        elif node not in live:
            _refuse_side_effects(model, node)
        else:
            path = paths.get(str(node.target), "")
            kept.append(_node(node, path))
            if node.op == "call_module":
                layer = model if _is_lone(model, path) else model.get_submodule(str(node.target))
                layers[path] = layer_record(layer, node, path, tensors)
            elif node.op == "get_attr":
                tensors[path] = _tensor(model, node)
    graph = Graph(inputs=inputs, layers=layers, nodes=kept, output=output)
    return graph, {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _refuse_own_forward(model: nn.Module) -> None:
    own = [hooks for hooks in HOOKS if getattr(model, hooks)] + [n for n in vars(model) if n == "forward"]
    if own:
        raise BundleError(
            f"{type(model).__name__} has {'a forward of its own' if 'forward' in own else 'forward hooks'}, which"
            " tracing cannot see; wrap it in a module that calls it"
        )


class _Tracer(fx.Tracer):
    """Traces into every module that is not one of the listed layers. torch.fx replaces methods of `nn.Module` in the
    whole process; modules that other threads run meanwhile are left alone."""

    def __init__(self) -> None:
        super().__init__(autowrap_modules=(math,))
        self._thread = get_ident()
        self.proxy_buffer_attributes = True  # so that a buffer of positions may be sliced to the number of steps

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Create a node that knows its line in the user's code. (With `record_stack_traces` torch would import its
        compiler, which takes two seconds.)"""
        node = super().create_node(*args, **kwargs)
        node.meta["line"] = line_in_forward()
        return node

    def create_arg(self, a: Any) -> Any:
        """An argument of a node; a scalar of numpy is a number."""
        return super().create_arg(a.item() if isinstance(a, np.generic) else a)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Record or enter a module, or run it in another thread."""
        return (
            super().call_module(m, forward, args, kwargs) if get_ident() == self._thread else forward(*args, **kwargs)
        )

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """An attribute of a module, as a node if it is a tensor."""
        return super().getattr(attr, attr_val, parameter_proxy_cache) if get_ident() == self._thread else attr_val

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if is_listed(m):
            return True
        if type(m).__module__.startswith("torch.nn.") and type(m).__name__ not in _CONTAINERS:
            raise BundleError(
                f"layer {module_qualified_name!r} is a {type(m).__name__}, which cannot be kept as data; supported"
                f" layers are {', '.join(operations.LAYERS)}; any model can be saved as an .onnx or .pt2 file"
            )
        return False


@contextmanager
def _recorded_creators() -> Iterator[None]:
    """Let torch.fx record functions that make a tensor from sizes of the inputs, on their device. It records functions
    of tensors by itself, but a size is no tensor."""
    creators = {name: getattr(torch, name) for name in operations.CREATORS}
    try:
        for name, function in creators.items():
            setattr(torch, name, _recorded(function))
        yield
    finally:
        for name, function in creators.items():
            setattr(torch, name, function)


def _recorded(function: Any) -> Any:
    @functools.wraps(function)
    def record(*args: Any, **kwargs: Any) -> Any:
        found: list[fx.Proxy] = []
        fx.node.map_aggregate(
            (args, kwargs), lambda value: found.append(value) if isinstance(value, fx.Proxy) else None
        )
        if not found:
            return function(*args, **kwargs)
        tracer = found[0].tracer
        named = {name: value for name, value in kwargs.items() if name not in ("requires_grad", "layout", "pin_memory")}
        named["device"] = tracer.create_proxy("call_function", getattr, (_an_input(tracer.graph, tracer), "device"), {})
        return tracer.create_proxy("call_function", function, args, named)

    return record


def _an_input(graph: fx.Graph, tracer: Any) -> fx.Proxy:
    """An input that is a tensor: the first, or an entry of the dict of all inputs."""
    first = next(node for node in graph.nodes if node.op == "placeholder")
    entries = [user for user in first.users if user.target is operator.getitem and isinstance(user.args[1], str)]
    return fx.Proxy(entries[0] if entries else first, tracer)


def _traced(model: nn.Module, num_inputs: int) -> fx.Graph:
    try:
        if is_listed(model):
            model = nn.Sequential(model)  # a tracer enters its root, and a listed layer has nothing inside
        defaults = _defaults(model, num_inputs)
        with _TRACE_LOCK, _recorded_creators(), recorded_assignments(), recorded_packing(model):
            return _on_one_device(_Tracer().trace(model, concrete_args=defaults))
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(
            f"{type(model).__name__} cannot be kept as data: {_short(error)}{line_of_error(error)};"
            f" {_advice(str(error))}"
        ) from error


def _on_one_device(graph: fx.Graph) -> fx.Graph:
    """The graph without moves to the CPU, such as those of lengths to pack: it runs on one device as a whole."""
    for node in list(graph.nodes):
        to_cpu = node.target == "cpu" or (node.target == "to" and str(node.args[1:]) in _CPU)
        if node.op == "call_method" and to_cpu and not node.kwargs:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return graph


def _defaults(model: nn.Module, num_inputs: int) -> dict[str, Any]:
    parameters = list(inspect.signature(model.forward).parameters.values())
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise BundleError(
            f"{type(model).__name__}.forward takes *args or **kwargs; name its arguments, or wrap the model"
        )
    extra = parameters[num_inputs:]
    required = [parameter.name for parameter in extra if parameter.default is parameter.empty]
    if required or len(parameters) < num_inputs:
        number, without = len(parameters), f" ({', '.join(required)} without a default)" if required else ""
        as_dict = ', or save Model(network, call="dict") if that is a dict of all' if number == 1 < num_inputs else ""
        raise BundleError(
            f"{type(model).__name__}.forward takes {number} argument{'s' * (number != 1)}{without}, but the bundle"
            f" passes {num_inputs}; wrap the model so that it takes exactly these{as_dict}"
        )
    return {parameter.name: parameter.default for parameter in extra}


def _short(error: Exception) -> str:
    """The first sentence of a message; torch adds links after it."""
    return one_line(error).partition(". ")[0]


def _advice(message: str) -> str:
    if "cannot be iterated" in message or "'len'" in message:
        return "loop over a fixed number of columns, as in `for i in range(4): x[:, i]`"
    if "control flow" in message:
        return "an `if` or loop that looks at values cannot become data: use torch.where, or decide by a flag"
    return "write that line with plain torch operations on the tensors"


def live_nodes(nodes: list[fx.Node]) -> set[fx.Node]:
    """The nodes whose results reach the output."""
    live, waiting = set[fx.Node](), [node for node in nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in live:
            live.add(node)
            waiting.extend(node.all_input_nodes)
    return live


def _refuse_side_effects(model: nn.Module, node: fx.Node) -> None:
    """Raise BundleError for an unused result whose operation changes its argument; other unused results are dropped."""
    called = str(getattr(node.target, "__name__", node.target))
    in_place = (
        (node.op in ("call_method", "call_function") and called.endswith("_"))
        or node.target is operator.setitem
        or (node.op == "call_function" and called in _IN_PLACE_OPERATORS)
        or bool(node.kwargs.get("inplace"))
        or node.kwargs.get("out") is not None
        or (node.op == "call_module" and getattr(model.get_submodule(str(node.target)), "inplace", False))
    )
    if in_place:
        raise refusal(node, "changes a tensor in place", "use the form that returns a new tensor")


def _node(node: fx.Node, path: str) -> Node:
    arguments = node.args
    op, target = _OP_NAMES.get(node.op), path or str(node.target)
    if op is None:
        raise refusal(node, f"takes another input ({node.name})", "give it a default, or wrap the model")
    if node.op == "call_function" and node.target is getattr:
        op, target, arguments = "attribute", str(node.args[1]), node.args[:1]
        if target not in operations.ATTRIBUTES:
            raise refusal(node, f"reads the attribute {target!r}", _listed(operations.ATTRIBUTES))
    elif node.op == "call_function":
        target = operations.FUNCTION_NAMES.get(node.target, "")
        if not target:
            raise refusal(node, f"calls {called(node.target)}", "write it with the usual torch operations")
        if node.kwargs.get("inplace"):
            raise refusal(node, "changes a tensor in place", "use the form that returns a new tensor")
        _refuse_random(node, target)
    elif node.op == "call_method" and target not in operations.METHODS:
        raise refusal(node, f"calls the tensor method {target!r}", "write it with the usual torch operations")
    return Node(
        name=node_name(node),
        op=op,
        target=target,
        args=[encoded(value, node) for value in arguments],
        kwargs={name: encoded(value, node) for name, value in node.kwargs.items()},
    )


def _refuse_random(node: fx.Node, target: str) -> None:
    if target == "functional.dropout":
        training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
        if training:
            raise refusal(node, "applies dropout in eval mode", "pass training=self.training to dropout")


def _is_lone(model: nn.Module, path: str) -> bool:
    """Whether the model is itself one listed layer, which was wrapped for tracing and has the path `0`."""
    return path == "0" and is_listed(model)


def _tensor(model: nn.Module, node: fx.Node) -> torch.Tensor:
    value: Any = model
    for name in str(node.target).split("."):
        value = getattr(value, name)
    if not isinstance(value, torch.Tensor):
        raise refusal(node, f"uses {node.target!r}, a {type(value).__name__}", "keep it as a buffer")
    return value


def _listed(names: dict[str, Any]) -> str:
    return f"supported attributes are {', '.join(sorted(names))}"
