"""A graph of data → an ordinary `nn.Module` that interprets its nodes.

Audit first, then construct: every name is checked against the lists of `operations.py` before anything is
built. Nothing is generated, compiled or evaluated, and no name in a file is looked up as an attribute. Layers
keep their names, so hooks, folding and compilation work on the result as on the original model. Independent
of files and columns.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...schemas.bundle import BundleManifest
from ...schemas.graph import Graph, Layer, Node
from ..errors import BundleError, one_line
from ..features.kinds import kind_of
from . import operations
from .audit import audit
from .checked import checked
from .effects import is_in_place
from .operators import operators
from .program import Program, Step, decoded, resolved, with_frees
from .reduced import in_dtype, reduced_program
from .sizes import MOST_BY_INPUT, Sizes, audit_counts
from .watch import watcher_of_thread

_RESERVED = {*dir(nn.Module()), "_program", "_sizes"}
#: Numbers of rows and steps that are rarely the width of a layer.
EXAMPLE_ROWS, EXAMPLE_STEPS = 3, 5


def build(graph: Graph, tensors: Mapping[str, Tensor]) -> "GraphModel":
    """Build the module that a graph describes, in eval mode on the CPU.

    Args:
        tensors: every tensor the graph names, no more and no fewer.

    Raises:
        BundleError: an operation that is not on the lists, a tensor that is missing, extra or misshapen.
    """
    try:
        audit_counts(graph, len(tensors))
        audit(graph)
        model = GraphModel(graph)
    except RecursionError as error:
        raise BundleError("graph.json: a path or an argument is nested too deeply") from error
    _load_tensors(model, tensors)
    return model.eval().requires_grad_(False)


class GraphModel(nn.Module):
    """Interprets a graph, node by node. Its layers and tensors keep the names they had in training, so it adds
    only two attributes. `_sizes`: computes how much memory a pass takes, before it runs."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        for path, layer in graph.layers.items():
            parent, _, name = path.rpartition(".")
            namespace = _namespace(self, parent)
            namespace.add_module(_free(namespace, path, name), _layer(path, layer))
        paths = dict.fromkeys(node.target for node in graph.nodes if node.op == "tensor")
        loose = tuple(path for path in paths if _owner(self, path) is None)
        for path in loose:
            parent, _, name = path.rpartition(".")
            namespace = _namespace(self, parent)
            namespace.register_buffer(_free(namespace, path, name), None)
        writing = {node.name for node in graph.nodes if paths and is_in_place(node, graph)}
        steps = tuple(_step(self, node, frees, writes=node.name in writing) for node, frees in with_frees(graph))
        self._program = Program(tuple(graph.inputs), steps, decoded(graph.output), loose)
        self._sizes = Sizes()

    def forward(self, *inputs: Tensor) -> Any:
        """Run the nodes in order, with the inputs and results of the original module.

        Raises:
            torch.OutOfMemoryError: a node would exceed the limit for a pass; it has not run, and the message names it.
        """
        program = self._program
        compiling = torch.compiler.is_compiling()
        count = None if compiling else self._sizes.count(inputs)
        watcher = None if compiling else watcher_of_thread()
        results: dict[str, Any] = dict(zip(program.inputs, inputs, strict=True))
        for step in program.steps:
            args = resolved(step.args, results)
            kwargs = {name: resolved(value, results) for name, value in step.kwargs.items()}
            if count is not None:
                count.before(step, args, kwargs)
            results[step.name] = step.run(*args, **kwargs) if watcher is None else watcher(step.run, args, kwargs)
            if count is not None:
                count.after(step, results[step.name], [results[name] for name in step.frees])
            for name in step.frees:
                del results[name]
        if count is not None:
            count.done()
        return resolved(program.output, results)

    def results(self, inputs: Sequence[Any]) -> Iterator[tuple[Step, Any]]:
        """Yield every node with its result right after it has run, before a later node can overwrite it.

        Raises:
            torch.OutOfMemoryError: as `forward` does.
        """
        count = self._sizes.count(inputs)
        results: dict[str, Any] = dict(zip(self._program.inputs, inputs, strict=True))
        for step in self._program.steps:
            args = resolved(step.args, results)
            kwargs = {name: resolved(value, results) for name, value in step.kwargs.items()}
            if count is not None:
                count.before(step, args, kwargs)
            results[step.name] = step.run(*args, **kwargs)
            yield step, results[step.name]
            if count is not None:
                count.after(step, results[step.name], [results[name] for name in step.frees])
            for name in step.frees:
                del results[name]

    def follow(self, dtype: torch.dtype) -> None:
        """Convert the float32 tensors that nodes make to the dtype of weights in half precision."""
        program = reduced_program(self._program, dtype)
        steps = [
            replace(step, run=replace(step.run, dtype=dtype)) if isinstance(step.run, _Late) else step
            for step in program.steps
        ]
        self._program = replace(program, steps=tuple(steps))

    def substitute(self, functions: Mapping[Callable[..., Any], Callable[..., Any]]) -> int:
        """Call other functions in place of some that nodes call. Returns how many nodes do."""
        before = self._program.steps
        self._program = replace(
            self._program, steps=tuple(replace(step, run=functions.get(step.run, step.run)) for step in before)
        )
        return sum(step.run in functions for step in before)

    def refuse_large(self, manifest: BundleManifest) -> None:
        """Set whether lists are among the inputs, and refuse inputs of which a few rows already exceed the limit.

        Raises:
            BundleError: a row is too large; names how many numbers it has.
        """
        self._sizes.of_lists = any(kind_of(entry).has_steps for entry in manifest.inputs)
        a_row = sum(entry.numbers for entry in manifest.inputs if not kind_of(entry).has_steps)
        if a_row * EXAMPLE_ROWS > MOST_BY_INPUT:
            raise BundleError(f"a row of the inputs has {a_row:,} numbers, above {MOST_BY_INPUT // EXAMPLE_ROWS:,}")


def shapes(model: GraphModel, *inputs: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    """Every node that computes a tensor, in order: its name, what it calls, the shape of its result."""
    found = []
    for step, result in model.results(inputs):
        if isinstance(result, Tensor) and step.op != "tensor":
            found.append((step.name, _called(step), tuple(result.shape)))
    return found


def _called(step: Step) -> str:
    """The path of the module whose result a step computes; otherwise the name of what it calls."""
    if isinstance(step.run, _Late):
        path: str = step.run.path
        return path
    return step.module or (step.target if step.op == "operator" else str(getattr(step.run, "__name__", step.name)))


def intermediates(model: GraphModel, names: Collection[str], *inputs: Any) -> dict[str, Tensor]:
    """The results of the nodes of these names, each copied right after it has run, before a later node can overwrite
    it."""
    found: dict[str, Tensor] = {}
    for step, result in model.results(inputs):
        if step.name in names:
            found[step.name] = result.clone()
        if len(found) == len(names):
            break
    return found


def _load_tensors(model: GraphModel, tensors: Mapping[str, Tensor]) -> None:
    """Assign every tensor without copying it. Raises BundleError unless they are exactly those that the model needs."""
    needed = {*model.state_dict(), *model._program.loose}
    for problem, names in (("lacks the", needed - set(tensors)), ("has an unknown", set(tensors) - needed)):
        if names:
            raise BundleError(f"the weights file {problem} tensor {min(names)!r}; make the bundle again")
    for path in model._program.loose:
        parent, _, name = path.rpartition(".")
        _namespace(model, parent)._buffers[name] = tensors[path]
    try:
        model.load_state_dict(dict(tensors), strict=True, assign=True)
        for layer in model.modules():
            if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
                _shorten_rows(layer, layer.max_norm)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise BundleError(f"the weights do not fit the graph: {one_line(error)}") from error


def _shorten_rows(layer: nn.Embedding, max_norm: float) -> None:
    """Shorten the rows of an Embedding with `max_norm` once, as it does with those that it looks up."""
    rows = layer.weight.detach().clone()
    if rows.numel():
        torch.embedding_renorm_(rows, torch.arange(len(rows)), max_norm, layer.norm_type)
    layer.weight, layer.max_norm = nn.Parameter(rows, requires_grad=False), None


def _step(model: GraphModel, node: Node, frees: tuple[str, ...], *, writes: bool) -> Step:
    runs: dict[str, Callable[[str], Callable[..., Any]]] = {
        "layer": lambda path: _Late(model, path, writes=writes),
        "tensor": lambda path: lambda: _tensor(model, path),
        "function": lambda name: _sparing(model, operations.FUNCTIONS[name]) if writes else operations.FUNCTIONS[name],
        "method": operations.METHODS.__getitem__,
        "attribute": operations.ATTRIBUTES.__getitem__,
        "operator": lambda name: checked().get(name) or operators()[name],
    }
    args = () if node.op == "tensor" else tuple(decoded(value) for value in node.args)
    kwargs = {name: decoded(value) for name, value in node.kwargs.items()}
    return Step(node.name, node.op, node.target, runs[node.op](node.target), args, kwargs, frees, node.module)


def _namespace(module: nn.Module, path: str) -> nn.Module:
    """The module at a path; empty modules are added where it does not exist."""
    for name in path.split(".") if path else []:
        if name not in module._modules:
            module.add_module(_free(module, path, name), nn.Module())
        inner = module._modules[name]
        assert inner is not None, "only modules are added"
        module = inner
    return module


def _owner(model: nn.Module, path: str) -> nn.Module | None:
    """The module that has this tensor as its own parameter or buffer; None where there is none."""
    module: nn.Module | None = model
    *parents, name = path.split(".")
    for parent in parents:
        module = module._modules.get(parent) if module is not None else None
    return module if module is not None and name in {*module._parameters, *module._buffers} else None


def _tensor(model: nn.Module, path: str) -> Tensor:
    owner, name = _owner(model, path), path.rpartition(".")[2]
    assert owner is not None, "registered when the model was built"
    tensor = owner._parameters.get(name)
    found = tensor if tensor is not None else owner._buffers[name]
    assert found is not None, "filled when the tensors were loaded"
    return found


@dataclass(frozen=True, slots=True)
class _Late:
    """A layer by its path, looked up on every call, so that a layer that is replaced later takes effect."""

    model: GraphModel
    path: str
    #: In half precision, that of the weights, which float32 arguments follow.
    dtype: torch.dtype | None = None
    #: Whether it overwrites its argument, which may be a tensor that the graph names.
    writes: bool = False

    def layer(self) -> nn.Module:
        """The module that is at the path now."""
        module: nn.Module | None = self.model
        for name in self.path.split("."):  # get_submodule takes ten times as long
            module = module._modules[name] if module is not None else None
        assert module is not None, "added when the model was built"
        return module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        layer = self.layer()
        if self.writes:
            args, kwargs = _spared(self.model, args), _spared(self.model, kwargs)
        if self.dtype is not None and any(weights.dtype == self.dtype for weights in layer.parameters()):
            args = in_dtype(args, self.dtype)
        return layer(*args, **kwargs)


def _sparing(model: GraphModel, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that overwrites its first argument, but never a weight."""

    @functools.wraps(function)
    def run(first: Any, *others: Any) -> Any:
        return function(_spared(model, first), *others)

    return run


def _spared(model: GraphModel, value: Any) -> Any:
    """Arguments with copies of the tensors that share their memory with one that the graph names: a weight that is
    overwritten would make the scores of a row depend on the rows before it. No trained model does that."""
    if isinstance(value, dict):
        return {name: _spared(model, entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_spared(model, entry) for entry in value)
    return value.clone() if isinstance(value, Tensor) and _is_named(model, value) else value


def _is_named(model: GraphModel, tensor: Tensor) -> bool:
    named = (_tensor(model, step.target) for step in model._program.steps if step.op == "tensor")
    return tensor.untyped_storage().data_ptr() in {one.untyped_storage().data_ptr() for one in named}


def is_reserved(name: str) -> bool:
    """Whether a layer or tensor cannot have this name because every module has an attribute of that name."""
    return name in _RESERVED


def _free(module: nn.Module, path: str, name: str) -> str:
    if is_reserved(name) or name in {*module._modules, *module._parameters, *module._buffers, *vars(module)}:
        raise BundleError(f"graph.json: {path!r} has a name that is already taken")
    return name


def _layer(path: str, layer: Layer) -> nn.Module:
    arguments = {name: decoded(value) for name, value in layer.args.items()}
    made = operations.LAYERS[layer.type]
    try:
        with torch.device("meta"):  # shapes only: no memory, no random numbers drawn
            if made is nn.Embedding:  # drawing its normal distribution would import the compiler, which takes a second
                arguments["_weight"] = torch.empty(arguments["num_embeddings"], arguments["embedding_dim"])
            return made(**arguments)
    except Exception as error:
        raise BundleError(f"graph.json: layer {path!r} cannot be built as {layer.type}: {one_line(error)}") from error
