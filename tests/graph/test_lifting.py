"""Calls of layers in exported graphs that are more than the layer and its argument stay operators."""

import math
from collections.abc import Callable
from typing import Any

import torch
from scoreline.pipeline.graph.example import Example
from scoreline.pipeline.graph.export import export
from scoreline.pipeline.graph.interpreter import build
from torch import Tensor, nn

from captured import rows_of


class From(nn.Module):
    """Two layers, and a forward that is given."""

    def __init__(self, then: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wider, self.last = nn.ConvTranspose2d(1, 2, 3, stride=2), nn.Linear(6, 3)
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self, x)


def rebuilt(then: Callable[[Any, Tensor], Tensor], example: Example, given: Tensor) -> tuple[list[str], Tensor]:
    """The layers of the exported graph, and its result, which is compared with the module's."""
    model = From(then).eval()
    graph, tensors = export(model, example)
    result: Tensor = build(graph, tensors)(given.clone())
    with torch.no_grad():
        torch.testing.assert_close(result, model(given.clone()))
    return list(graph.layers), result


def test_a_layer_that_takes_more_than_a_tensor() -> None:
    """The size is a number, and no argument of the layer that would be put in place."""
    example = rows_of("x", torch.zeros(3, 1, 8, 8))
    layers, result = rebuilt(lambda self, x: self.wider(x, output_size=[18, 18]), example, torch.randn(2, 1, 8, 8))
    assert layers == []
    assert result.shape == (2, 2, 18, 18)
    assert rebuilt(lambda self, x: self.wider(x), example, torch.randn(2, 1, 8, 8))[0] == ["wider"]


def test_a_layer_that_computes_in_another_precision() -> None:
    def mixed(self: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.last(x)  # type: ignore[no-any-return]

    layers, result = rebuilt(mixed, rows_of("x", torch.zeros(3, 6)), torch.randn(4, 6))
    assert layers == []
    assert result.dtype == torch.bfloat16


def test_roots_of_sizes() -> None:
    example = Example(arguments={"x": torch.zeros(3, 5, 6)}, dynamic={"x": {0: "rows", 1: "steps"}})
    rebuilt(lambda self, x: self.last(x.sum(1)) / math.sqrt(x.shape[1]), example, torch.randn(2, 9, 6))


def test_values_assigned_in_place_have_gradients() -> None:
    """For the explanations of `--explain integrated-gradients`: torch has none for `aten.copy`."""

    def assigned(self: Any, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 0] *= 2
        return self.last(x)  # type: ignore[no-any-return]

    graph, tensors = export(From(assigned).eval(), rows_of("x", torch.zeros(3, 6)))
    given = torch.randn(4, 6, requires_grad=True)
    build(graph, tensors)(given).sum().backward()
    assert given.grad is not None
    torch.testing.assert_close(given.grad[:, 0], 2 * tensors["last.weight"].sum(0)[0].expand(4))
