"""Examples are records that cannot change while a module is captured with them."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from scoreline.pipeline.graph.capture import capture
from scoreline.pipeline.graph.example import ROWS, Example
from torch import Tensor, nn


class ByName(nn.Module):
    """The difference of two entries of a dict."""

    def forward(self, given: dict[str, Tensor]) -> Tensor:
        return given["b"] - given["a"]


def example(**more: bool) -> Example:
    arguments = {name: torch.zeros(3, 1) for name in "ab"}
    return Example(arguments=arguments, dynamic={name: {0: ROWS} for name in "ab"}, **more)


def test_a_module_takes_separate_arguments_unless_stated() -> None:
    """Sizes have no maximum, and no example shares its default with another."""
    first, second = example(), example()
    assert (first.as_dict, dict(first.most)) == (False, {})
    assert first.most is not second.most
    with pytest.raises(FrozenInstanceError):
        first.as_dict = True  # type: ignore[misc]


def test_a_dict_of_arguments_becomes_one_input() -> None:
    """Captured with the example that the module accepts."""
    captured = capture(ByName(), [example(as_dict=True)])
    assert len(captured.graph.inputs) == 1
    assert len(capture(nn.Bilinear(1, 1, 1).eval(), [example()]).graph.inputs) == 2
