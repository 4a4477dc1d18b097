"""Bounds of ATen operators, beside what torch makes."""

from typing import Any

import pytest
import torch
from scoreline.pipeline.graph.operator_bounds import most_numbers_of_operator
from scoreline.pipeline.graph.operators import operators, short_name

X = torch.randn(4, 6)
HUGE = 1 << 40


def bound(name: str, *args: Any, **kwargs: Any) -> int:
    return most_numbers_of_operator(operators()[name], short_name(name), args, kwargs)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "numbers"),
    [
        ("aten.add.Tensor", (X, X[:1]), {}, 24),
        ("aten.argmax.default", (X, 1), {}, 2 * 4),  # int64 counts twice
        ("aten._to_copy.default", (X,), {"dtype": torch.float64}, 2 * 24),
        ("aten.repeat.default", (X, [1, HUGE]), {}, 24 * HUGE),
        ("aten.zeros.default", ([3, HUGE],), {}, 3 * HUGE),
        ("aten.zeros.default", ([3, HUGE],), {"device": torch.device("cpu")}, 3 * HUGE),
        ("aten.arange.default", (HUGE,), {}, 2 * HUGE),
        ("aten.max.dim", (X, 1), {}, 4 + 2 * 4),  # values and indices
        ("aten.new_ones.default", (X, [5, HUGE]), {}, 5 * HUGE),
    ],
)
def test_results(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], numbers: int) -> None:
    """Counted as numbers of four bytes, without making them."""
    assert bound(name, *args, **kwargs) == numbers


def test_intermediate_results() -> None:
    """The weights of attention, the gates of cells, the columns of convolutions of float64."""
    steps = torch.zeros(2, 500, 4)
    assert bound("aten.scaled_dot_product_attention.default", steps, steps, steps) >= 2 * 500 * 500
    cell = torch.nn.GRUCell(6, 50)
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    assert bound("aten.gru_cell.default", X, torch.zeros(4, 50), *weights) >= 4 * 3 * 50
    images, kernels = torch.zeros(2, 3, 8, 8, dtype=torch.float64), torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    assert bound("aten.conv2d.default", images, kernels, None, [1, 1], [2, 2]) >= 2 * 2 * 64 * 75


def test_arguments_that_the_operator_does_not_accept() -> None:
    """Fail before anything is computed."""
    with pytest.raises(RuntimeError):
        bound("aten.add.Tensor", X, torch.zeros(5))
