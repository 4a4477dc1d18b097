"""Turns a trained module into a graph with `torch.export`, where `torch.fx` cannot trace it. Only used when a bundle is
saved.

torch.export runs the module on example tensors and records the ATen operators, with sizes that depend on the inputs as
results of their own. Those operators, where they are on the list of `operators.py`, become the nodes of the graph, and
calls of simple layers become nodes that call the layer (`lifting.py`). No `.pt2` file is written, and none is read.
Independent of files.
"""

import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import lru_cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import OutputKind
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._pytree import tree_unflatten

from ...schemas.graph import Graph, Layer, Node, NodeRef
from ..errors import BundleError, one_line
from . import operations
from .example import Example
from .lifting import lift, module_of_result
from .nodes import NotExportedError, called, encoded, layer_record, node_name, refusal, safe_path, safe_paths
from .operators import operators, sets_storage
from .recurrent import STAND_INS, whole_recurrent_layers
from .trace import live_nodes
from .user_lines import line_text, user_line

#: torch.export changes settings of the process while it runs.
_EXPORT_LOCK = Lock()
#: Checks of what was captured; they hold for every input that the bundle describes.
_CHECKS = ("_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range")
#: Operators that return their argument.
_SAME = ("aten.alias.default", "aten.detach.default", "aten.lift_fresh_copy.default", "aten.detach_.default")
#: Operators of which another is a case: one that only lays its result out in memory, or fills memory with some values.
_CASES = {
    "aten.view.default": "aten.reshape.default",
    "aten._unsafe_view.default": "aten.reshape.default",
    "aten.empty.memory_format": "aten.zeros.default",
    "aten.empty_like.default": "aten.zeros_like.default",
    "aten.new_empty.default": "aten.new_zeros.default",
}
#: Operators that make a tensor from numbers alone.
_CREATORS = (*operations.CREATORS, "scalar_tensor")
#: What torch says of sizes for which an `if` has gone one way, and of code that it does not capture.
_LIMIT = re.compile(r"^ *(\w+) = Dim\('\w+', (?:min=\d+, )?max=(\d+)\)", re.MULTILINE)
_EXPLANATION = re.compile(r"^ *Explanation: (.+)$", re.MULTILINE)
#: What torch says of code that looks at values.
_BY_VALUES = ("ata-dependent", "DataDependent", "dynamic shape operator", "unbacked")
_RANDOM = ("bernoulli", "dropout", "multinomial", "normal", "rand", "uniform", "exponential")


def export(model: nn.Module, example: Example) -> tuple[Graph, dict[str, Tensor]]:
    """Capture a module as operators and tensors.

    Args:
        model: in eval mode, on the CPU.
        example: tensors that it accepts.

    Returns:
        The graph, and every tensor it names, contiguous and on the CPU.

    Raises:
        NotExportedError: torch.export fails.
        BundleError: the module does something that a graph cannot express; names the line.
    """
    program = _exported(model, example)
    inputs, targets = _lifted_inputs(program)
    nodes = program.graph_module.graph
    for node in nodes.nodes:
        node.meta["line"] = user_line(node.meta.get("stack_trace"))
    structure = _keep_outputs(program)
    _simplify(nodes)
    lift(nodes, model, targets)
    return _as_data(program, model, inputs, targets, structure, example)


def _exported(model: nn.Module, example: Example) -> Any:
    names = dict.fromkeys(size for dims in example.dynamic.values() for size in dims.values())
    sizes = {size: torch.export.Dim(size, max=example.most.get(size)) for size in names}
    shapes = {name: {dim: sizes[size] for dim, size in dims.items()} for name, dims in example.dynamic.items()}
    given = {name: tensor.clone() for name, tensor in example.arguments.items()}  # torch.export merges equal objects
    args: tuple[Any, ...] = (given,) if example.as_dict else tuple(given.values())
    problems: list[Exception] = []
    for strict in (True, False):
        try:
            with _quiet(), whole_recurrent_layers(), torch.no_grad():
                program = torch.export.export(
                    model, args, dynamic_shapes=(shapes,) if example.as_dict else tuple(shapes.values()), strict=strict
                )
                _remove_idle_dropout(program.graph_module.graph)
                return program.run_decompositions(_decompositions())
        except Exception as error:  # torch may raise anything on code that it does not capture
            problems.append(error)
    raise _described(model, problems[0])


def _remove_idle_dropout(graph: fx.Graph) -> None:
    """In eval mode dropout returns its argument, which may be changed by either name; decompositions copy it."""
    for node in filter(_is_idle_dropout, list(graph.nodes)):
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)


def _decompositions() -> dict[Any, Any]:
    """How torch takes operators apart, for those that are not on the list."""
    composite = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
    return dict(_decompositions_of(tuple(composite)))


@lru_cache(maxsize=1)
def _decompositions_of(_: tuple[str, ...]) -> dict[Any, Any]:
    """The table, which takes a tenth of a second to make, by the composite operators that are registered: a library
    that is imported later may add some."""
    table = torch.export.default_decompositions().materialize()
    kept = operators().keys() | _CASES.keys()
    return {one: how for one, how in table.items() if str(one) not in kept and one not in STAND_INS}


def _described(model: nn.Module, problem: Exception) -> Exception:
    """The reason why torch.export has failed, where it is one that the user can remove."""
    text = str(problem)
    line = line_text(user_line(text))
    if "Constraints violated" in text or ("specialized" in text and "dynamic" in text):
        limit = _LIMIT.search(text)
        found = f" ({limit[1]}: at most {int(limit[2]):,})" if limit is not None else ""
        if limit is not None and limit[2] == "25":
            found += "; torch.cdist does, unless it has compute_mode='donot_use_mm_for_euclid_dist'"
        return BundleError(
            f"{type(model).__name__} cannot be kept as data: it accepts only some numbers of rows or steps, or decides"
            f" by them{found}{line}; take sizes from the input, as in x.shape[0]"
        )
    if any(words in text for words in _BY_VALUES):
        return BundleError(
            f"{type(model).__name__} cannot be kept as data: an `if`, loop or size depends on values{line}; use"
            " torch.where or a mask, or decide by a flag"
        )
    explained = _EXPLANATION.search(text)
    reason = one_line(problem) if explained is None else explained[1]
    return NotExportedError(reason.rstrip("."), line)


@contextmanager
def _quiet() -> Iterator[None]:
    """Capture without warnings, and with attention as separate operators rather than one that only the CPU has."""
    logger = logging.getLogger("torch")
    level, fast = logger.level, torch.backends.mha.get_fastpath_enabled()
    nowhere = io.StringIO()  # for the graphs that torch prints after an error
    with _EXPORT_LOCK, warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            logger.setLevel(level)


def _lifted_inputs(program: Any) -> tuple[list[fx.Node], dict[str, str]]:
    """The placeholders of the model's inputs, and the path of the parameter, buffer or constant of each other one."""
    targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target is not None}
    placeholders = [node for node in program.graph_module.graph.nodes if node.op == "placeholder"]
    return [node for node in placeholders if node.name not in targets], targets


def _simplify(graph: fx.Graph) -> None:
    """Remove checks and operators that return their argument, and keep one form of those that differ in layout."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        name = _full_name(node.target)
        if any(check in name for check in _CHECKS):
            graph.erase_node(node)
        elif name in _SAME or _is_idle_dropout(node) or _is_whole_slice(name, node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif name == "aten.copy.default" and _is_alike(node, node.args[1]):
            node.replace_all_uses_with(node.args[1])  # the operator has no gradient
            graph.erase_node(node)
        elif name == "aten.clone.default" and node.kwargs.get("memory_format") is torch.contiguous_format:
            node.target = torch.ops.aten.contiguous.default
        elif name == "aten._native_batch_norm_legit_no_training.default":
            _as_batch_norm(graph, node)
        elif node.target in STAND_INS:
            node.target = operators()[STAND_INS[node.target]]
        elif name in _CASES:
            node.target = operators()[_CASES[name]]
            node.kwargs = {key: value for key, value in node.kwargs.items() if key != "memory_format"}


def _as_batch_norm(graph: fx.Graph, node: fx.Node) -> None:
    """Put `batch_norm`, which checks the sizes of its arguments, in place of the operator that it calls."""
    *tensors, momentum, eps = node.args
    with graph.inserting_before(node):
        args = (*tensors, False, momentum, eps, False)
        checked = graph.call_function(torch.ops.aten.batch_norm.default, args)
    checked.meta = {**node.meta, "val": node.meta["val"][0]}
    for user in list(node.users):
        user.replace_all_uses_with(checked)
        graph.erase_node(user)
    graph.erase_node(node)


def _is_idle_dropout(node: fx.Node) -> bool:
    return "dropout" in str(node.target) and len(node.args) == 3 and node.args[2] is False


def _is_alike(node: fx.Node, other: Any) -> bool:
    """Whether a result has the shape and dtype of another for all sizes of the inputs."""
    own, given = node.meta["val"], other.meta["val"]
    return bool(own.dtype == given.dtype and tuple(map(str, own.shape)) == tuple(map(str, given.shape)))


def _is_whole_slice(name: str, node: fx.Node) -> bool:
    """Whether a node is `x[:]` along some dimension."""
    return name == "aten.slice.Tensor" and node.args[2:] in ((), (0, sys.maxsize), (0, sys.maxsize, 1), (None, None))


def _full_name(target: Any) -> str:
    """`aten.add.Tensor`; other functions by module and name."""
    return str(target) if isinstance(target, torch._ops.OpOverload) else called(target)


def _as_data(
    program: Any,
    model: nn.Module,
    inputs: Sequence[fx.Node],
    targets: Mapping[str, str],
    structure: Any,
    example: Example,
) -> tuple[Graph, dict[str, Tensor]]:
    nodes = list(program.graph_module.graph.nodes)
    live = live_nodes(nodes)
    state = {**program.state_dict, **program.constants}
    paths = safe_paths([str(node.target) for node in nodes if node.op == "call_module"] + [targets[n] for n in targets])
    layers: dict[str, Layer] = {}
    tensors: dict[str, Tensor] = {}
    kept: list[Node] = []
    names = [node_name(node) for node in nodes]
    all_inputs = _unused("inputs", names)
    if example.as_dict:
        kept += [_item(node, all_inputs, name) for node, name in zip(inputs, example.arguments, strict=True)]
    source = node_name(inputs[0])
    device = Node(name=_unused(f"{source}_device", names), op="attribute", target="device", args=[NodeRef(node=source)])
    for node in nodes:
        if node.op == "output" or node not in live or node in inputs:
            continue
        if node.op == "placeholder":
            path = paths[targets[node.name]]
            tensors[path] = state[targets[node.name]]
            kept.append(Node(name=node_name(node), op="tensor", target=path))
        elif node.op == "call_module":
            path = paths[str(node.target)]
            layers[path] = layer_record(model.get_submodule(str(node.target)), node, path, tensors)
            layers[path].args.pop("inplace", None)
            kept.append(Node(name=node_name(node), op="layer", target=path, args=[encoded(a, node) for a in node.args]))
        else:
            kept.append(_node(node, device.name))
    if any(node.kwargs.get("device") is not None for node in kept):
        kept.insert(len(inputs) if example.as_dict else 0, device)
    graph = Graph(
        inputs=[all_inputs] if example.as_dict else [node_name(node) for node in inputs],
        layers=layers,
        nodes=kept,
        output=encoded(_plain(tree_unflatten(list(nodes[-1].args[0]), structure)), nodes[-1]),
    )
    return graph, {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _unused(name: str, names: Sequence[str]) -> str:
    """A name that no node has."""
    while name in names:
        name += "_"
    return name


def _item(node: fx.Node, inputs: str, name: str) -> Node:
    """An input, taken out of the dict of all inputs."""
    return Node(name=node_name(node), op="function", target="operator.getitem", args=[NodeRef(node=inputs), name])


def _keep_outputs(program: Any) -> Any:
    """Leave what the module returns as the only outputs of its graph. Returns their structure."""
    node = next(node for node in program.graph_module.graph.nodes if node.op == "output")
    specs = program.graph_signature.output_specs
    changed = [spec.target for spec in specs if spec.kind is OutputKind.BUFFER_MUTATION]
    if changed:
        raise BundleError(
            f"the model changes its buffer {changed[0]!r} in eval mode, so a row's score would depend on the rows"
            " before it; change it in training only"
        )
    pairs = zip(specs, node.args[0], strict=True)
    node.args = (tuple(value for spec, value in pairs if spec.kind is OutputKind.USER_OUTPUT),)
    return program.call_spec.out_spec


def _plain(value: Any) -> Any:
    """A structure of dicts, lists and tuples: objects of libraries that are dicts lose the entries that are None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        entries = [_plain(entry) for entry in value]
        return entries if isinstance(value, list) else tuple(entries)
    return value


def _node(node: fx.Node, device: str) -> Node:
    """An operator, with the device of the inputs where it makes a tensor."""
    name = _full_name(node.target)
    args, kwargs = list(node.args), dict(node.kwargs)
    if node.op == "get_attr":  # a function that is passed to torch.cond or its like
        raise refusal(node, f"calls torch.{next(iter(node.users)).target}", "use torch.where for both cases")
    if "_local_scalar_dense" in name:
        raise refusal(node, "makes a Python number of a value", "keep it a tensor")
    if free_unbacked_symbols(node.meta.get("val")):
        raise refusal(node, f"makes a result whose size depends on values ({name})", "use torch.where or a mask")
    if name in operators():
        op, target = "operator", name
    elif node.target in operations.FUNCTION_NAMES:
        op, target = "function", operations.FUNCTION_NAMES[node.target]
    elif name == "torch._sym_sqrt":
        op, target = "function", "math.sqrt"
    elif any(part in name for part in _RANDOM):
        raise refusal(node, f"draws random numbers ({name})", "a row would not get the same score twice")
    else:
        raise refusal(node, f"calls {name}", "write it with the usual torch operations")
    on_device = kwargs.get("device") is not None
    kwargs = {key: value for key, value in kwargs.items() if op != "operator" or not sets_storage(key)}
    data = {key: encoded(value, node) for key, value in kwargs.items()}
    if on_device and name.split(".")[1] in _CREATORS:
        data["device"] = NodeRef(node=device)
    module = module_of_result(node)
    return Node(
        name=node_name(node),
        op=op,
        target=target,
        args=[encoded(value, node) for value in args],
        kwargs=data,
        module=safe_path(module) if module else None,
    )
