"""Upper bounds on how many numbers a recurrent ATen operator makes, and checks of the shapes of its arguments. The
operator does not check all of them: a state or weight that is too small ends the process with a segmentation fault.
Independent of graphs.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .result_sizes import Kwargs, tensors_of

#: The weights of a recurrent operator have this many rows for each number of its state.
_GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}
RECURRENT = tuple(_GATES)
_NAMES = ["input", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first"]


def most_numbers_of_recurrent(name: str, args: Sequence[Any], kwargs: Kwargs) -> int:
    """The bound for one call of an operator such as `aten.lstm.input`: the gates of all steps of a layer. On the meta
    device, it would take a second for a hundred steps.

    Raises:
        ValueError: the shapes or dtypes of its arguments do not fit together.
    """
    given = {**dict(zip(_NAMES, args, strict=False)), **kwargs}
    tensors = list(tensors_of([given[key] for key in ("input", "hx", "params")]))
    sequence, states, weights = given["input"], list(tensors_of([given["hx"]])), list(tensors_of([given["params"]]))
    if not isinstance(sequence, Tensor) or sequence.ndim != 3 or not all(sequence.shape):
        raise ValueError(f"{name} takes a sequence [rows, steps, width]")
    if len({tensor.dtype for tensor in tensors}) > 1 or not sequence.is_floating_point():
        raise ValueError(f"{name} takes floating-point numbers of one dtype")
    directions = 2 if given["bidirectional"] else 1
    cells = int(given["num_layers"]) * directions
    if len(states) != (2 if name == "lstm" else 1) or not 1 <= cells <= len(weights) or len(weights) % cells:
        raise ValueError(f"{name} has {len(states)} states and {len(weights)} weights for {cells} cells")
    rows = sequence.shape[0 if given["batch_first"] else 1]
    expected = _shapes(name, sequence.shape[-1], weights, cells, directions, given["has_biases"])
    hidden, out = expected[1][0] // _GATES[name], expected[1][1]
    expected_states = [(cells, rows, out), (cells, rows, hidden)][: len(states)]
    for tensor, shape in zip([*states, *weights], [*expected_states, *expected], strict=True):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has a state or weight of shape {list(tensor.shape)}, not {list(shape)}")
    steps = sequence.shape[0] * sequence.shape[1]
    numbers = max(sequence.numel(), steps * hidden * _GATES[name] * directions) + sum(s.numel() for s in states)
    return int(numbers * max(1, sequence.element_size() // 4))


def _shapes(
    name: str, width: int, weights: Sequence[Tensor], cells: int, directions: int, has_biases: bool
) -> list[tuple[int, ...]]:
    """The shapes that `torch.nn.RNNBase` documents for all weights. The state's size is that of the first cell."""
    each = len(weights) // cells
    projected = each == (5 if has_biases else 3)
    if each != (4 if has_biases else 2) + projected or (projected and name != "lstm") or weights[1].ndim != 2:
        raise ValueError(f"{name} has {each} weights for each cell")
    gates, out = weights[1].shape
    hidden = gates // _GATES[name]
    found: list[tuple[int, ...]] = []
    for cell in range(cells):
        found += [(gates, width if cell < directions else out * directions), (gates, out)]
        found += [(gates,), (gates,)] if has_biases else []
        found += [(out, hidden)] if projected else []
    if gates != hidden * _GATES[name] or (not projected and out != hidden):
        raise ValueError(f"{name} has weights of shape {[gates, out]}")
    return found
