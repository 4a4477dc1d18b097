"""Augmented assignments (`x += y`) in traced code. Only used when a bundle is saved.

In torch they change a tensor, under all of its names. torch.fx has no such operators for what it traces, so Python
assigns a new result to the one name: a caller's tensor, or the base of a view, would silently stay what it was. Here
such a result is recorded as the change of a node, and refused where the tensor is used afterwards by another name.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn

from .nodes import NeverDataError, refusal
from .result_sizes import tensors_of
from .user_lines import line_in_forward, line_text

#: In the meta of a node: the node that its line changes in place.
CHANGES = "changes"
#: The operators that work in place; of `@=`, torch has no such form.
_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor")
#: A tensor of more elements is compared with others by its memory as a whole.
_MOST_ELEMENTS = 1 << 20


@contextmanager
def recorded_assignments() -> Iterator[None]:
    """Let torch.fx record augmented assignments to traced values, in this process; one trace at a time. A scalar of
    numpy leaves its product with such a value to that value."""
    changed: dict[str, Any] = {f"__i{name.rstrip('_')}__": _recording(getattr(operator, name)) for name in _OPERATORS}
    changed["__array_ufunc__"] = None
    changed["__setattr__"] = _set_attribute
    try:
        for name, value in changed.items():
            setattr(fx.Proxy, name, value)
        yield
    finally:
        for name in changed:
            delattr(fx.Proxy, name)


def _set_attribute(value: fx.Proxy, name: str, given: Any) -> None:
    """Raises NeverDataError for an attribute of tensors (`x.data = …`): torch.fx would set it on the traced value
    alone, and torch.export does not follow it either."""
    if hasattr(Tensor, name):
        raise NeverDataError(
            f"the model assigns {name!r} of a tensor{line_text(line_in_forward())}, which cannot be kept as data; use"
            " the form that returns a new tensor"
        )
    object.__setattr__(value, name, given)


def _recording(binary: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, Any], Any]:
    def record(value: fx.Proxy, other: Any) -> Any:
        result = binary(value, other)
        result.node.meta[CHANGES] = value.node
        return result

    return record


def refuse_shared_changes(model: nn.Module, graph: fx.Graph, live: set[fx.Node], given: Sequence[Any] | None) -> None:
    """Refuse changes of tensors that the result of the graph depends on by another name, as a run shows.

    Args:
        live: the nodes that the output needs.
        given: the arguments of a run; None if there are none. Without a run, only the tensor's own name is known.

    Raises:
        BundleError: names the line.
    """
    changes = [node for node in graph.nodes if CHANGES in node.meta]
    if not changes:
        return
    try:
        results = _results(model, graph, given)
    except Exception:  # whatever a model raises
        results = {}
    order = {node: number for number, node in enumerate(graph.nodes)}
    needed = live.union(changes)  # a change may be needed though its result is not
    own = [*model.parameters(), *model.buffers()]
    for node in changes:
        later = {used for one in needed if order[one] > order[node] for used in one.all_input_nodes}
        if not _is_alone(node, later, results, own):
            raise refusal(node, "changes a tensor that has another name", "use the form that returns a new tensor")


def _is_alone(node: fx.Node, later: set[fx.Node], results: Mapping[fx.Node, Any], own: Sequence[Tensor]) -> bool:
    """Whether a new result does what the change of a tensor does: it has the same type and shape, and neither a
    parameter nor anything that is used later shares memory with the tensor."""
    before = node.meta[CHANGES]
    if before not in results:
        return before not in later
    old, new = results[before], results[node]
    if not isinstance(old, Tensor):
        return True  # a number, such as a size
    if not isinstance(new, Tensor) or (new.dtype, new.shape) != (old.dtype, old.shape):
        return False
    used = (tensor for one in later for tensor in tensors_of(results[one]))
    return not any(_shares(old, tensor) for tensor in chain(own, used))


def _shares(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors share an element."""
    memory = one.untyped_storage()
    if memory.data_ptr() != other.untyped_storage().data_ptr() or not (one.numel() and other.numel()):
        return False
    elements = memory.nbytes() // one.element_size()
    if one.dtype != other.dtype or elements > _MOST_ELEMENTS:
        return True
    places = torch.arange(elements)
    mine, others = (places.as_strided(t.shape, t.stride(), t.storage_offset()).flatten() for t in (one, other))
    return bool(torch.isin(mine, others).any())


class _Recorder(fx.Interpreter):
    """Keeps every result, so that no memory is used twice."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = self.results[n] = super().run_node(n)
        return result


def _results(model: nn.Module, graph: fx.Graph, given: Sequence[Any] | None) -> Mapping[fx.Node, Any]:
    """The result of every node."""
    if given is None:
        return {}
    recorder = _Recorder(model, graph)
    with torch.inference_mode():
        recorder.run(*given)
    return recorder.results
