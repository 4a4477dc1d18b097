"""The bound on what a node makes is never below what torch makes, for every operation on the lists."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.graph import operations
from scoreline.pipeline.graph.bounds import most_numbers
from scoreline.pipeline.graph.layer_bounds import most_numbers_of_layer
from scoreline.pipeline.graph.result_sizes import tensors_of
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

X = torch.randn(3, 4, 6, 5)
ROWS = torch.randn(7, 6)
INDEX = torch.tensor([[0, 1, 2], [2, 1, 0]])
STEPS, LENGTHS = torch.randn(9, 30, 8), torch.tensor([30, 1, 4, 30, 2, 3, 7, 1, 1])
PACKED = pack_padded_sequence(STEPS, LENGTHS, batch_first=True, enforce_sorted=False)
#: Operations whose result can be larger than their arguments: name, args, kwargs.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("repeat", (ROWS, 2, 3), {}),
    ("repeat", (ROWS, (4, 2, 3)), {}),
    ("repeat", (ROWS, torch.tensor(2), 3), {}),
    ("expand", (ROWS[:, :1], -1, 50), {}),
    ("expand", (ROWS, (9, 7, 6)), {}),
    ("expand", (ROWS[:1],), {"size": (40, 6)}),
    ("masked_fill", (ROWS[:, :1], torch.zeros(7, 90, dtype=torch.bool), 0.0), {}),
    ("functional.prelu", (X, torch.rand(4)), {}),
    ("expand_as", (ROWS[:, :1], torch.zeros(7, 90)), {}),
    ("rnn.pack_padded_sequence", (STEPS, LENGTHS, True), {}),
    ("rnn.pack_padded_sequence", (), {"input": STEPS.transpose(0, 1), "lengths": LENGTHS}),
    ("rnn.pad_packed_sequence", (PACKED, True, 0.0, 500), {}),
    ("rnn.pad_packed_sequence", (), {"sequence": PACKED, "total_length": 40}),
    ("functional.pad", (X, (1, 9, 30, 2)), {}),
    ("functional.pad", (X,), {"pad": (1, 2), "value": 3.0}),
    ("functional.pad", (X, (1, 2, 1, 1)), {"mode": "reflect"}),
    ("functional.interpolate", (X,), {"scale_factor": 3.7}),
    ("functional.interpolate", (X, (40, 50)), {"mode": "bilinear"}),
    ("functional.interpolate", (X,), {"scale_factor": (2, 9), "mode": "bicubic"}),
    ("torch.zeros", (7, 90), {}),
    ("torch.zeros", ((7, 90),), {"dtype": torch.int64}),
    ("torch.ones", ([7, 90],), {}),
    ("torch.full", ((7, 90), 2.5), {}),
    ("torch.full", ([7, 90],), {"fill_value": 2}),
    ("torch.eye", (7, 90), {}),
    ("torch.eye", (70,), {}),
    ("torch.arange", (90,), {}),
    ("torch.arange", (-20, 70), {}),
    ("torch.arange", (7, -90, -1), {}),
    ("torch.arange", (), {"start": 7, "end": 90, "step": 0.1}),
    ("torch.linspace", (0, 1, 90), {}),
    ("torch.linspace", (0, 1), {"steps": 90}),
    ("new_zeros", (ROWS, 7, 90), {}),
    ("new_ones", (ROWS, (7, 90)), {}),
    ("new_full", (ROWS, (7, 90), 1.0), {}),
    ("torch.cat", ([X, X, X], 1), {}),
    ("torch.cat", ((ROWS, ROWS),), {"dim": 1}),
    ("torch.stack", ([ROWS] * 9,), {}),
    ("torch.hstack", ([ROWS] * 3,), {}),
    ("torch.vstack", ([ROWS] * 3,), {}),
    ("torch.outer", (torch.randn(40), torch.randn(70)), {}),
    ("operator.matmul", (torch.randn(5, 40, 2), torch.randn(2, 60)), {}),
    ("torch.matmul", (torch.randn(40, 2), torch.randn(9, 1, 2, 60)), {}),
    ("torch.bmm", (torch.randn(4, 30, 2), torch.randn(4, 2, 30)), {}),
    ("torch.mm", (ROWS.T, ROWS), {}),
    ("torch.mv", (ROWS, torch.randn(6)), {}),
    ("torch.addmm", (torch.randn(50), torch.randn(40, 2), torch.randn(2, 50)), {}),
    ("torch.baddbmm", (torch.randn(1, 1, 1), torch.randn(4, 30, 2), torch.randn(4, 2, 30)), {}),
    ("torch.einsum", ("ri,rj->rij", ROWS, ROWS), {}),
    ("torch.einsum", ("i,j,k->ijk", [torch.randn(9)] * 3), {}),
    ("torch.einsum", ("...ij,...jk->...ik", X, X.mT), {}),
    ("torch.einsum", ("bi,bi", ROWS, ROWS), {}),
    ("functional.linear", (ROWS, torch.randn(90, 6), torch.randn(90)), {}),
    ("functional.linear", (X,), {"weight": torch.randn(90, 5)}),
    ("functional.bilinear", (ROWS, ROWS, torch.randn(30, 6, 6)), {}),
    ("functional.one_hot", (INDEX, 90), {}),
    ("functional.one_hot", (INDEX * 40,), {}),
    ("functional.embedding", (INDEX, torch.randn(10, 60)), {}),
    ("torch.index_select", (ROWS, 1, torch.zeros(80, dtype=torch.int64)), {}),
    ("torch.gather", (ROWS, 1, torch.zeros(7, 40, dtype=torch.int64)), {}),
    ("torch.take_along_dim", (ROWS, torch.zeros(1, 40, dtype=torch.int64), 1), {}),
    ("functional.scaled_dot_product_attention", (X, torch.randn(3, 4, 90, 5), torch.randn(3, 4, 90, 5)), {}),
    ("functional.conv1d", (ROWS.unsqueeze(1), torch.randn(30, 1, 2)), {"padding": 20}),
    ("functional.conv2d", (X, torch.randn(30, 4, 2, 2), None, 2, 7), {}),
    ("functional.conv2d", (X, torch.randn(30, 4, 3, 3)), {"padding": "same"}),
    ("functional.avg_pool1d", (X[0], 2, 1, 1), {}),
    ("functional.max_pool2d", (X, 3, 1, 1), {}),
    ("functional.adaptive_avg_pool1d", (X[0], 50), {}),
    ("functional.adaptive_avg_pool2d", (X, (50, None)), {}),
    ("functional.adaptive_max_pool2d", (X[0], 30), {}),
    ("operator.getitem", (ROWS, (slice(None), [0, 1] * 30)), {}),
    ("operator.getitem", (ROWS, INDEX), {}),
    ("operator.getitem", (ROWS, ROWS > 0), {}),
    ("operator.getitem", (ROWS, (slice(None), None, INDEX, None)), {}),
    ("operator.getitem", (X, (Ellipsis, INDEX, slice(1, 3))), {}),
    ("operator.getitem", (X, (INDEX[:, :1], 2, INDEX)), {}),
    ("operator.getitem", (X, (slice(None), None, None)), {}),
    ("operator.getitem", (X, 1), {}),
]


def sizes(made: Any) -> int:
    """How many numbers the largest result has."""
    return max((tensor.numel() for tensor in tensors_of(made)), default=0)


def run(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    function = operations.FUNCTIONS.get(name) or operations.METHODS[name]
    return function(*args, **kwargs)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
def test_operations_with_larger_results_are_bounded(call: tuple[str, tuple[Any, ...], dict[str, Any]]) -> None:
    """By at least what torch makes, and not many times that."""
    name, args, kwargs = call
    made = sizes(run(name, args, kwargs))
    bound = most_numbers(name.rpartition(".")[2], args, kwargs)
    assert made <= bound <= 8 * max(made, sizes(list(args)))


def _attempts() -> Iterator[tuple[Any, ...]]:
    """Arguments that some of the operations take."""
    wide = torch.rand(3, 1, 6)
    for example in (X, ROWS, wide, INDEX, torch.rand(5), ROWS > 0):
        given = example.clone()  # an operator may overwrite it
        yield (given,)
        yield given, given
        yield given, 1
        yield given, 0, 1
        yield given, (1, 0)
        yield ([given, given],)
        yield given, given, given
    yield wide, torch.rand(7, 1)
    yield ROWS > 0, ROWS, wide[:1]
    yield ROWS, 2, 1
    yield ROWS, (3, 2, 7)
    yield ROWS, 0, 0, 2


@pytest.mark.parametrize("name", sorted({*operations.FUNCTIONS, *operations.METHODS}))
@pytest.mark.filterwarnings("ignore")
def test_every_operation_on_the_lists_is_bounded(name: str) -> None:
    """With all arguments that it takes: operands that broadcast, several tensors, indices, masks."""
    tried = 0
    for args in _attempts():
        try:
            made = sizes(run(name, args, {}))
        except Exception:  # it does not take these arguments
            continue
        tried += 1
        assert made <= most_numbers(name.rpartition(".")[2], args, {}), (name, args)
    named = {call[0] for call in CALLS} | {call[0].rpartition(".")[2] for call in CALLS}
    assert tried or {name, name.rpartition(".")[2]} & named or name in NUMBERS_ALONE


#: Operations that take numbers, or special shapes.
NUMBERS_ALONE = {
    *("math.sqrt", "math.log", "addcmul", "torch.addcmul", "unflatten", "functional.pixel_shuffle"),
    *("functional.group_norm", "functional.batch_norm", "functional.layer_norm", "functional.rms_norm"),
    *("functional.avg_pool2d", "functional.max_pool1d"),
    *("torch.sym_float", "torch.sym_int", "torch.sym_max", "torch.sym_min", "torch.sym_not"),
}

LAYERS: list[tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = [
    (lambda: nn.Linear(6, 90), (ROWS,)),
    (lambda: nn.LSTM(8, 90, batch_first=True, bidirectional=True), (PACKED,)),
    (lambda: nn.Bilinear(6, 6, 90), (ROWS, ROWS)),
    (lambda: nn.Embedding(10, 90), (INDEX,)),
    (lambda: nn.LocalResponseNorm(40), (X,)),
    (lambda: nn.Upsample(scale_factor=9), (X,)),
    (lambda: nn.Upsample((40, 50), mode="bilinear"), (X,)),
    (lambda: nn.Conv1d(4, 30, 2, padding=40), (X[..., 0],)),
    (lambda: nn.Conv2d(4, 30, 2, stride=2), (X,)),
    (lambda: nn.Conv2d(4, 8, 3, padding="same"), (X,)),
    (lambda: nn.Conv2d(4, 1, 2, padding=2, padding_mode="reflect"), (X,)),
    (lambda: nn.ConvTranspose1d(4, 3, 2, stride=40), (X[..., 0],)),
    (lambda: nn.ConvTranspose2d(4, 3, 3, stride=9, dilation=4, output_padding=3), (X,)),
    (lambda: nn.AdaptiveAvgPool1d(90), (X[0],)),
    (lambda: nn.AdaptiveMaxPool2d((90, None)), (X,)),
    (lambda: nn.ConstantPad1d(40, 0.0), (ROWS,)),
    (lambda: nn.ZeroPad2d((9, 8, 7, 6)), (X,)),
    (lambda: nn.ReplicationPad2d(3), (X,)),
    (lambda: nn.MaxPool2d(2, 1, 1), (X,)),
    (lambda: nn.AvgPool1d(2, 1, 1), (X[0],)),
    (lambda: nn.PixelShuffle(2), (X,)),
    (lambda: nn.RNN(5, 30, 2, batch_first=True), (X[0],)),
    (lambda: nn.GRU(5, 30, bidirectional=True), (X[0],)),
    (lambda: nn.LSTM(5, 30, proj_size=7), (X[0],)),
    (lambda: nn.MultiheadAttention(6, 2, batch_first=True), (ROWS[None], ROWS[None], ROWS[None])),
    (lambda: nn.TransformerEncoderLayer(6, 2, 90), (ROWS[None],)),
    (lambda: nn.BatchNorm2d(4), (X,)),
    (lambda: nn.Softmax(1), (X,)),
    (lambda: nn.CosineSimilarity(), (torch.rand(7, 4, 1), torch.rand(7, 4, 90))),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: type(case[0]()).__name__)
def test_layers_are_bounded(case: tuple[Callable[[], nn.Module], tuple[Tensor, ...]]) -> None:
    """Layers whose arguments determine the shape of the result."""
    layer = case[0]().eval()
    with torch.no_grad():
        made = sizes(layer(*case[1]))
    assert made <= most_numbers_of_layer(layer, case[1], {}) <= 40 * max(made, sizes(list(case[1])))


SHAPE = st.lists(st.integers(1, 5), min_size=0, max_size=4)


@given(SHAPE, SHAPE)
def test_any_two_shapes_that_broadcast(one: list[int], other: list[int]) -> None:
    """The bound agrees with torch's rule."""
    try:
        made = prod(torch.broadcast_shapes(one, other))
    except RuntimeError:
        return
    assert most_numbers("mul", (torch.zeros(one), torch.zeros(other)), {}) == made


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(1, 9), st.booleans())
def test_any_matrix_product(shape: list[int], columns: int, plain: bool) -> None:
    """With any number of leading dimensions."""
    one = torch.zeros(shape)
    other = torch.zeros([shape[-1], columns] if plain else [*([1] * (len(shape) - 2)), shape[-1], columns])
    assert sizes(one @ other) <= most_numbers("matmul", (one, other), {})


@given(st.data())
def test_any_index(data: st.DataObject) -> None:
    """Integers, slices, None, an ellipsis, lists and tensors of indices, in any order."""
    tensor = torch.zeros(3, 4, 5)
    pieces = st.sampled_from([0, slice(None), slice(1, 2), None, [0, 1, 1, 0], INDEX, Ellipsis])
    index = tuple(data.draw(st.lists(pieces, max_size=4)))
    try:
        made = tensor[index]
    except (IndexError, RuntimeError, TypeError, ValueError):
        return
    assert sizes(made) <= most_numbers("getitem", (tensor, index), {})


def test_a_bound_may_depend_on_values() -> None:
    """one_hot without a number of classes has as many columns as the largest index requires."""
    assert most_numbers("one_hot", (torch.tensor([10**12]),), {}) == 10**12 + 1
    assert sizes(nn.functional.one_hot(torch.tensor([6]))) == most_numbers("one_hot", (torch.tensor([6]),), {})
