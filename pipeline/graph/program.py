"""The program that a graph is turned into before it runs: its nodes in order, each with its arguments as Python values
and the results that can be freed after it. Independent of modules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...schemas.graph import DictArg, DtypeArg, EllipsisArg, FloatArg, Graph, Node, NodeRef, SliceArg, TupleArg
from . import operations

Args = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One node, ready to run. `op`, `target`: the kind and name of what it calls. `frees`: the results that are not
    needed after it. `module`: the path of the trained module whose result it computes, where it is an operator's."""

    name: str
    op: str
    target: str
    run: Callable[..., Any]
    args: Args
    kwargs: dict[str, Any]
    frees: tuple[str, ...]
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """The steps that a GraphModel runs. `loose`: paths of the tensors that no layer owns."""

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    output: Any
    loose: tuple[str, ...]


def with_frees(graph: Graph) -> list[tuple[Node, tuple[str, ...]]]:
    """Each node with the results that are not needed after it."""
    needed, pairs = set(referenced(graph.output)), []
    for node in reversed(graph.nodes):
        used = dict.fromkeys(referenced([node.args, node.kwargs]))
        frees = tuple(name for name in used if name not in needed)
        unused = () if node.name in needed else (node.name,)
        needed.update(used)
        pairs.append((node, (*frees, *unused)))
    return pairs[::-1]


def referenced(value: Any) -> list[str]:
    """The names of the nodes that an argument refers to, once per reference."""
    match value:
        case NodeRef():
            return [value.node]
        case list() | tuple():
            return [name for entry in value for name in referenced(entry)]
        case dict():
            return referenced(list(value.values()))
        case TupleArg():
            return referenced(value.tuple)
        case DictArg():
            return referenced(list(value.mapping.values()))
        case SliceArg():
            return referenced(value.slice)
    return []


def decoded(value: Any) -> Any:
    """An argument as a Python value; references to nodes stay, and are replaced by `resolved`."""
    match value:
        case list():
            return [decoded(entry) for entry in value]
        case TupleArg():
            return tuple(decoded(entry) for entry in value.tuple)
        case DictArg():
            return {name: decoded(entry) for name, entry in value.mapping.items()}
        case SliceArg():
            return slice(*(decoded(entry) for entry in value.slice))
        case DtypeArg():
            return operations.DTYPES[value.dtype]
        case FloatArg():
            return float(value.float)
        case EllipsisArg():
            return Ellipsis
    return value


def resolved(value: Any, results: Mapping[str, Any]) -> Any:
    """An argument with every reference replaced by its result."""
    match value:
        case NodeRef():
            return results[value.node]
        case tuple():
            return tuple(resolved(entry, results) for entry in value)
        case list():
            return [resolved(entry, results) for entry in value]
        case dict():
            return {name: resolved(entry, results) for name, entry in value.items()}
        case slice():
            return slice(*(resolved(end, results) for end in (value.start, value.stop, value.step)))
    return value
