"""Limits on the memory of a pass through a graph, computed from shapes before each node runs. Independent of files and
columns.

A bundle may come from an untrusted source, and a few numbers in it can request a terabyte: `repeat`, `expand`, `pad`,
`interpolate`, repeated `cat`, the stride of a transposed convolution.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...schemas.graph import Graph
from ..errors import BundleError
from .bounds import depends_on_values, most_numbers, pieces
from .layer_bounds import most_numbers_of_layer
from .operator_bounds import most_numbers_of_operator
from .operators import operators, short_name
from .program import Step
from .result_sizes import tensors_of

#: The most numbers of four bytes that the results of one pass may hold at the same time. Measured: a ResNet of 64
#: channels at 224 × 224 has 1.2 million a row, six TransformerEncoderLayers over 512 steps have 50 million, and a table
#: model has 8 million in a pass of 1,024 rows through layers 4,096 wide.
MOST_NUMBERS = {"cpu": 1 << 29, "cuda": 1 << 32}
#: The most per row, where there are few rows.
MOST_A_ROW = 1 << 25
#: Where the inputs are large, the limit is this multiple of their size, up to a maximum.
TIMES_INPUT, MOST_BY_INPUT = 256, 1 << 32
#: Where lists are among the inputs, this many more for each pair of a row's steps: 256 attention heads.
TIMES_PAIRS = 256
#: A network of a thousand residual blocks has 7,000 nodes.
MOST_NODES, MOST_LAYERS = 1 << 16, 1 << 16
#: Layers of one RNN, GRU or LSTM; each has two tensors at least.
MOST_RECURRENT = 1 << 10
#: The most tensors that one node may split another into.
MOST_PIECES = 1 << 16
#: The most shapes that are remembered as within the limit.
MOST_SHAPES = 1 << 12


def audit_counts(graph: Graph, num_tensors: int) -> None:
    """Refuse a graph with too many nodes or layers, before any of it is built.

    Raises:
        BundleError: names the number and the limit.
    """
    for what, number, most in (("nodes", len(graph.nodes), MOST_NODES), ("layers", len(graph.layers), MOST_LAYERS)):
        if number > most:
            raise BundleError(f"graph.json has {number:,} {what}, above the limit of {most:,}")
    for path, layer in graph.layers.items():
        depth, most = layer.args.get("num_layers", 0), min(MOST_RECURRENT, num_tensors // 2)
        if isinstance(depth, int | float) and depth > most:
            raise BundleError(
                f"graph.json: layer {path!r} has num_layers {depth:,}, but there are weights for at most {most:,}"
            )


class Sizes:
    """Counts the first pass of each combination of shapes; later passes of the same shapes are not counted. `of_lists`:
    whether lists are among the inputs, so that the limit grows with the square of their length."""

    def __init__(self) -> None:
        self.of_lists = True
        self._known: set[tuple[Any, ...]] = set()

    def count(self, inputs: Sequence[Any]) -> "Count | None":
        """The count for a pass over these inputs; None where a pass of the same shapes was within the limit."""
        tensors = list(tensors_of(list(inputs)))
        key = tuple(tuple(tensor.shape) for tensor in tensors)
        return None if key in self._known else Count(self, key, tensors)

    def passed(self, key: tuple[Any, ...]) -> None:
        """Remember that a pass of these shapes was within the limit, and that its sizes do not depend on values."""
        if len(self._known) < MOST_SHAPES:
            self._known.add(key)

    def most(self, tensors: Sequence[Tensor]) -> int:
        """The most numbers that a pass over these inputs may hold at the same time."""
        size = sum(_numbers(tensor) for tensor in tensors)
        device = tensors[0].device.type if tensors else "cpu"
        rows = max([1, *(tensor.shape[0] for tensor in tensors if tensor.ndim)])
        most = min(MOST_NUMBERS.get(device, MOST_NUMBERS["cpu"]), rows * MOST_A_ROW)
        most = max(most, min(TIMES_INPUT * size, MOST_BY_INPUT))
        if not self.of_lists:
            return most
        pairs = [tensor.shape[0] * tensor.shape[1] ** 2 for tensor in tensors if tensor.ndim > 1]
        return most + TIMES_PAIRS * max(pairs, default=0)


class Count:
    """Counts the numbers that one pass holds. Memory that several results share counts once; weights do not count."""

    def __init__(self, sizes: Sizes, key: tuple[Any, ...], tensors: Sequence[Tensor]) -> None:
        self._sizes, self._key, self._most = sizes, key, sizes.most(tensors)
        self._fixed = True
        self._of_values = False
        self._alive = 0
        self._shared: dict[int, tuple[int, int]] = {}  # by storage: how many results, how many numbers
        self._add(tensors)
        if self._alive > self._most:
            raise torch.OutOfMemoryError(f"the inputs have {self._alive:,} numbers, above the limit of {self._most:,}")

    def before(self, step: Step, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Refuse a node that would exceed the limit.

        Raises:
            torch.OutOfMemoryError: names the node, which has not run.
        """
        self._of_values = False
        if step.op == "layer":
            made = most_numbers_of_layer(step.run.layer(), args, kwargs)  # type: ignore[attr-defined]
        elif step.op in ("function", "method", "operator"):
            self._of_values = step.op == "function" and _has_tensors([args, kwargs])
            name = short_name(step.target)
            cut = pieces(name, args, kwargs)
            if cut > MOST_PIECES:
                raise torch.OutOfMemoryError(
                    f"node {step.name!r} ({step.target}) splits a tensor into {cut:,} pieces, above the limit of"
                    f" {MOST_PIECES:,}"
                )
            if step.op == "operator":
                made = most_numbers_of_operator(operators()[step.target], name, args, kwargs)
            else:
                made = most_numbers(name, args, kwargs)
                self._fixed &= not depends_on_values(name, args, kwargs)
        else:
            return
        wide = any(tensor.element_size() > 4 for tensor in tensors_of([*args, *kwargs.values()]))
        made = 2 * made if wide and step.op != "operator" else made  # of an operator, the dtype of the result is known
        if self._alive + made > self._most:
            raise torch.OutOfMemoryError(
                f"node {step.name!r} ({step.target}) would make up to {made:,} numbers, in addition to {self._alive:,}"
                f" that are still needed, above the limit of {self._most:,} for a pass"
            )

    def after(self, step: Step, result: Any, freed: Iterable[Any]) -> None:
        """Count the result of a node, and subtract what is not needed after it."""
        if self._of_values and not _has_tensors(result):  # a Python number, which later nodes may use as a size
            self._fixed = False
        self._add(tensors_of(result), free=step.op == "tensor")
        for tensor in tensors_of(list(freed)):
            storage = tensor.untyped_storage()._cdata
            times, numbers = self._shared[storage]
            if times > 1:
                self._shared[storage] = times - 1, numbers
            else:
                del self._shared[storage]
                self._alive -= numbers

    def done(self) -> None:
        """Record that the pass was within the limit."""
        if self._fixed:
            self._sizes.passed(self._key)

    def _add(self, tensors: Iterable[Tensor], *, free: bool = False) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()._cdata
            times, numbers = self._shared.get(storage, (0, 0))
            if not times:
                numbers = 0 if free else tensor.untyped_storage().nbytes() // 4
                self._alive += numbers
            self._shared[storage] = times + 1, numbers


def _has_tensors(value: Any) -> bool:
    return any(True for _ in tensors_of(value))


def _numbers(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size() // 4
