"""What a pass through a graph may take: counted node by node, by arithmetic, before each runs. Independent of files and
columns.

A bundle may come from a stranger, and ten numbers in it can ask for a terabyte: `repeat`, `expand`, `pad`,
`interpolate`, doublings of `cat`, the stride of a transposed convolution.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...schemas.graph import Graph
from ..errors import BundleError
from .bounds import depends_on_values, most_numbers, pieces
from .layer_bounds import most_numbers_of_layer
from .program import Step
from .result_sizes import tensors_of

#: Numbers of four bytes that the results which are needed at the same time may have together, in one pass. Measured: a
#: ResNet of 64 channels at 224 × 224 has 1.2 million a row, six TransformerEncoderLayers over 512 steps 50 million, and
#: a table model has 8 million in a pass of 1,024 rows through layers 4,096 wide.
MOST_NUMBERS = {"cpu": 1 << 29, "cuda": 1 << 32}
#: And so many a row, where they are few.
MOST_A_ROW = 1 << 25
#: Where the inputs are large, so many times what they have, up to a bound.
TIMES_INPUT, MOST_BY_INPUT = 256, 1 << 32
#: Where lists are among the inputs, so many for each pair of a row's steps: 256 attention heads.
TIMES_PAIRS = 256
#: A network of a thousand residual blocks has 7,000 nodes.
MOST_NODES, MOST_LAYERS = 1 << 16, 1 << 16
#: Layers of one RNN, GRU or LSTM; each has two tensors at least.
MOST_RECURRENT = 1 << 10
#: Tensors that one node may cut another into.
MOST_PIECES = 1 << 16
#: Shapes that are remembered as having gone through.
MOST_SHAPES = 1 << 12


def audit_counts(graph: Graph, num_tensors: int) -> None:
    """Refuse a graph of more nodes or layers than a model has, before anything of it is built.

    Raises:
        BundleError: says how many there are, and how many there may be.
    """
    for what, number, most in (("nodes", len(graph.nodes), MOST_NODES), ("layers", len(graph.layers), MOST_LAYERS)):
        if number > most:
            raise BundleError(f"graph.json has {number:,} {what}, above the limit of {most:,}")
    for path, layer in graph.layers.items():
        depth, most = layer.args.get("num_layers", 0), min(MOST_RECURRENT, num_tensors // 2)
        if isinstance(depth, int | float) and depth > most:
            raise BundleError(
                f"graph.json: layer {path!r} has num_layers {depth:,}, and there are weights for {most:,} at most"
            )


class Sizes:
    """Counts passes of shapes that have not gone through before; after that a shape costs nothing. `of_lists`: whether
    lists are among the inputs, so that what steps cost one another is allowed for."""

    def __init__(self) -> None:
        self.of_lists = True
        self._known: set[tuple[Any, ...]] = set()

    def count(self, inputs: Sequence[Any]) -> "Count | None":
        """Of a pass over these inputs; None where one of the same shapes has gone through."""
        tensors = list(tensors_of(list(inputs)))
        key = tuple(tuple(tensor.shape) for tensor in tensors)
        return None if key in self._known else Count(self, key, tensors)

    def passed(self, key: tuple[Any, ...]) -> None:
        """A pass of these shapes went through, and its sizes do not depend on values."""
        if len(self._known) < MOST_SHAPES:
            self._known.add(key)

    def most(self, tensors: Sequence[Tensor]) -> int:
        """How many numbers a pass over these inputs may have at the same time."""
        given = sum(_numbers(tensor) for tensor in tensors)
        device = tensors[0].device.type if tensors else "cpu"
        rows = max((tensor.shape[0] for tensor in tensors if tensor.ndim), default=1)
        most = min(MOST_NUMBERS.get(device, MOST_NUMBERS["cpu"]), rows * MOST_A_ROW)
        most = max(most, min(TIMES_INPUT * given, MOST_BY_INPUT))
        if not self.of_lists:
            return most
        pairs = [tensor.shape[0] * tensor.shape[1] ** 2 for tensor in tensors if tensor.ndim > 1]
        return most + TIMES_PAIRS * max(pairs, default=0)


class Count:
    """The numbers of one pass, as it goes. What several results share in memory counts once, weights not at all."""

    def __init__(self, sizes: Sizes, key: tuple[Any, ...], tensors: Sequence[Tensor]) -> None:
        self._sizes, self._key, self._most = sizes, key, sizes.most(tensors)
        self._fixed = True
        self._alive = 0
        self._shared: dict[int, tuple[int, int]] = {}  # by place in memory: how many results, how many numbers
        self._hold(tensors)
        if self._alive > self._most:
            raise torch.OutOfMemoryError(f"the inputs have {self._alive:,} numbers, above the limit of {self._most:,}")

    def before(self, step: Step, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Refuse a node that would make more than there is room for.

        Raises:
            torch.OutOfMemoryError: names it; it has not run.
        """
        if step.op == "layer":
            made = most_numbers_of_layer(step.run.layer(), args, kwargs)  # type: ignore[attr-defined]
        elif step.op in ("function", "method"):
            name = step.target.rpartition(".")[2]
            made = most_numbers(name, args, kwargs)
            self._fixed &= not depends_on_values(name, args, kwargs)
            cut = pieces(name, args, kwargs)
            if cut > MOST_PIECES:
                raise torch.OutOfMemoryError(
                    f"node {step.name!r} ({step.target}) cuts a tensor into {cut:,} pieces, above the limit of"
                    f" {MOST_PIECES:,}"
                )
        else:
            return
        wide = any(tensor.element_size() > 4 for tensor in tensors_of([*args, *kwargs.values()]))
        made = 2 * made if wide else made
        if self._alive + made > self._most:
            raise torch.OutOfMemoryError(
                f"node {step.name!r} ({step.target}) would make up to {made:,} numbers beside {self._alive:,} that are"
                f" needed, above the limit of {self._most:,} for a pass"
            )

    def after(self, step: Step, result: Any, freed: Iterable[Any]) -> None:
        """Count what a node has made, and forget what nobody needs after it."""
        self._hold(tensors_of(result), free=step.op == "tensor")
        for tensor in tensors_of(list(freed)):
            place = tensor.untyped_storage()._cdata
            times, numbers = self._shared[place]
            if times > 1:
                self._shared[place] = times - 1, numbers
            else:
                del self._shared[place]
                self._alive -= numbers

    def done(self) -> None:
        """The pass went through."""
        if self._fixed:
            self._sizes.passed(self._key)

    def _hold(self, tensors: Iterable[Tensor], *, free: bool = False) -> None:
        for tensor in tensors:
            place = tensor.untyped_storage()._cdata
            times, numbers = self._shared.get(place, (0, 0))
            if not times:
                numbers = 0 if free else tensor.untyped_storage().nbytes() // 4
                self._alive += numbers
            self._shared[place] = times + 1, numbers


def _numbers(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size() // 4
