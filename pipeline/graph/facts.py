"""Facts that follow from a graph alone: which columns are indices into an embedding and how many rows it has, so that
an index out of range is rejected on the CPU before it triggers an assertion on a GPU; and which activation a model ends
in. Independent of values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...schemas.bundle import BundleManifest
from ...schemas.graph import DictArg, Graph, Node, NodeRef, SliceArg, TupleArg
from ...schemas.heads import LOGITS
from ..errors import BundleError, counted
from ..features.kinds import kind_of
from .effects import is_in_place
from .operators import short_name

#: Operations that pass on the same values, column by column or all together.
_SAME_VALUES = {
    *("long", "int", "to", "_to_copy", "contiguous", "clone", "squeeze", "unsqueeze", "flatten", "reshape", "view"),
    "detach",
}
_RESHAPES = {"squeeze", "unsqueeze", "flatten", "reshape", "view"}
_CASTS = {"long", "int", "to", "_to_copy"}
_SHAPES = {*_SAME_VALUES, "Identity", "Flatten", "float", "getitem", "select", "Dropout"}
_BY_LAYOUT = {"contiguous", "reshape", "flatten", "Flatten"}
_ACTIVATIONS = {"sigmoid": "Sigmoid", "softmax": "Softmax", "logsigmoid": "LogSigmoid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Indices:
    """`limits`: by a column's index in the input, the number of rows of the smallest embedding it indexes. `uncast`:
    whether an embedding takes the input without a cast, so that the input must be int64."""

    limits: dict[int, int]
    uncast: bool


def index_limits(manifest: BundleManifest, graphs: Sequence[Graph]) -> dict[str, int]:
    """By column, the number of rows of the smallest embedding that it indexes, over all members.

    Raises:
        BundleError: a graph takes another number of inputs than the manifest describes.
    """
    limits: dict[str, int] = {}
    for graph in graphs:
        expected = len(manifest.arguments) if manifest.call == "arguments" else 1
        if len(graph.inputs) != expected:
            raise BundleError(
                f"graph.json takes {counted(len(graph.inputs), 'input')}, but bundle.json describes {expected}"
            )
        for entry in manifest.inputs:
            index = manifest.arguments.index(entry.name)
            table = kind_of(entry).tabular
            found = indices_of(graph, manifest.call, index, entry.name, len(entry.prepared), table=table)
            for at, size in found.limits.items():
                limits[entry.prepared[at]] = min(size, limits.get(entry.prepared[at], size))
    return limits


def indices_of(graph: Graph, call: str, index: int, name: str, num_columns: int, *, table: bool = True) -> Indices:
    """Follow one input of the model, by its position or by its key in the dict that the model takes.

    Args:
        table: whether dimension 1 is the columns. For a sequence it is steps, and a selection from it is not followed.
    """
    columns = _Columns(tuple(range(num_columns)), cast=False, shaped=table)
    if call == "arguments":
        return _followed(graph, {graph.inputs[index]: columns})
    taken = [
        node.name
        for node in graph.nodes
        if node.target == "operator.getitem" and node.args == [NodeRef(node=graph.inputs[0]), name]
    ]
    return _followed(graph, dict.fromkeys(taken, columns))


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of the input that a result's values come from, and whether they were cast on the way."""

    indices: tuple[int, ...]
    cast: bool
    #: Whether dimension 1 is still the columns; after a reshape, a selection from it is not followed.
    shaped: bool = True


def _followed(graph: Graph, known: dict[str, _Columns]) -> Indices:
    """Follow columns from the input into every Embedding."""
    limits: dict[int, int] = {}
    uncast = False
    for node in graph.nodes:
        source = _source(node, known)
        size = _embedding_rows(node, graph)
        if source is None:
            continue
        if size is not None:
            uncast |= not source.cast
            for index in source.indices:
                limits[index] = min(size, limits.get(index, size))
        elif (columns := _passed_on(node, source)) is not None:
            known[node.name] = columns
    return Indices(limits=limits, uncast=uncast)


def _source(node: Node, known: dict[str, _Columns]) -> _Columns | None:
    first = node.args[0] if node.args else node.kwargs.get("input")
    return known.get(first.node) if isinstance(first, NodeRef) else None


def _embedding_rows(node: Node, graph: Graph) -> int | None:
    """The number of rows of the Embedding that this node calls; None where it calls none."""
    if node.op == "layer" and graph.layers[node.target].type == "Embedding":
        rows = graph.layers[node.target].args.get("num_embeddings")
        return rows if isinstance(rows, int) else None
    return None


def _passed_on(node: Node, source: _Columns) -> _Columns | None:
    name = short_name(node.target)
    if name in _SAME_VALUES:
        shaped = source.shaped and name not in _RESHAPES
        return _Columns(source.indices, source.cast or name in _CASTS, shaped)
    if not source.shaped:
        return None
    if name == "getitem" and len(node.args) == 2:
        indices = _selected(node.args[1], source.indices)
        return None if indices is None else _Columns(indices, source.cast)
    if name == "slice" and len(node.args) in (4, 5) and node.args[1] in (1, -1):
        indices = _selected(TupleArg(tuple=[None, SliceArg(slice=(*node.args[2:], None)[:3])]), source.indices)
        return None if indices is None else _Columns(indices, source.cast)
    if name == "select" and len(node.args) == 3 and node.args[1] in (1, -1) and isinstance(node.args[2], int):
        selected = source.indices[node.args[2] : node.args[2] + 1 or None]
        return _Columns(selected, source.cast) if selected else None
    return None


def _selected(index: Any, indices: tuple[int, ...]) -> tuple[int, ...] | None:
    """`x[:, 3]`, `x[..., 3]` or `x[:, 2:5]`, as the indices of the selected columns."""
    if not isinstance(index, TupleArg) or len(index.tuple) != 2:
        return None
    column = index.tuple[1]
    try:
        if isinstance(column, int):
            return (indices[column],)
        if isinstance(column, SliceArg):
            start, stop, step = column.slice
            return indices[slice(start, stop, step)]  # type: ignore[arg-type]
    except (IndexError, TypeError):
        return None
    return None


def overwrites(graph: Graph) -> bool:
    """Whether a model may overwrite its inputs: one of its layers or operators works in place."""
    return any(is_in_place(node, graph) for node in graph.nodes)


def needs_rows(graph: Graph) -> bool:
    """Whether a model overwrites something, and makes what is a view of contiguous rows, but a copy of contiguous
    columns: what it overwrites through the view, it may read again."""
    made = {graph.layers[node.target].type if node.op == "layer" else short_name(node.target) for node in graph.nodes}
    return bool(made & _BY_LAYOUT) and overwrites(graph)


def last_activation(graph: Graph, output: int | str) -> str | None:
    """`Sigmoid`, `Softmax` or `LogSigmoid` where an output ends in one, ignoring changes of shape."""
    nodes = {node.name: node for node in graph.nodes}
    value = graph.output
    if isinstance(value, TupleArg) and isinstance(output, int) and output < len(value.tuple):
        value = value.tuple[output]
    elif isinstance(value, list) and isinstance(output, int) and output < len(value):
        value = value[output]
    elif isinstance(value, DictArg):
        value = value.mapping.get(str(output), value.mapping.get(LOGITS) if output == 0 else None)
    while isinstance(value, NodeRef) and value.node in nodes:
        node = nodes[value.node]
        kind = graph.layers[node.target].type if node.op == "layer" else short_name(node.target)
        if kind.lower() in _ACTIVATIONS:
            return _ACTIVATIONS[kind.lower()]
        if kind not in _SHAPES or not node.args:
            return None
        value = node.args[0]
    return None
