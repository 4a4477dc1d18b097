"""Recurrent layers with and without every option, rebuilt from their graphs: equal to plain torch within 1e-6."""

import copy
import itertools
from typing import Any

import pytest
import torch
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.trace import trace
from scoreline.schemas.graph import Graph
from torch import Tensor, nn

KINDS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "RNN": (nn.RNN, {}),
    "RNN of relu": (nn.RNN, {"nonlinearity": "relu"}),
    "GRU": (nn.GRU, {}),
    "LSTM": (nn.LSTM, {}),
    "LSTM with projections": (nn.LSTM, {"proj_size": 2}),
}
OPTIONS = [
    {"bias": bias, "num_layers": layers, "bidirectional": both, "batch_first": first}
    for bias, layers, both, first in itertools.product([True, False], [1, 2], [True, False], [True, False])
]


class Around(nn.Module):
    """The outputs and the last state of a layer, side by side."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


def rebuilt(model: nn.Module) -> nn.Module:
    graph, tensors = trace(copy.deepcopy(model).eval())
    return build(Graph.model_validate_json(graph.model_dump_json()), tensors)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(f"{value}" for value in options.values()))
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers_are_kept_with_all_their_options(kind: str, options: dict[str, Any]) -> None:
    """Including layers without biases."""
    torch.manual_seed(0)
    make, more = KINDS[kind]
    model = Around(make(3, 4, **more, **options)).eval()
    x = torch.randn(5, 6, 3)
    again = rebuilt(model)
    assert repr(again.layer) == repr(model.layer)
    with torch.no_grad():
        expected, got = model(x), again(x)
    for one, other in zip(_leaves(expected), _leaves(got), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def _leaves(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [leaf for entry in value for leaf in _leaves(entry)]


FLAGS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(3, 4, bias=False), (5, 3)),
    (nn.Bilinear(3, 3, 4, bias=False), (5, 3)),
    (nn.Conv1d(3, 4, 2, bias=False), (5, 3, 6)),
    (nn.Conv2d(3, 4, 2, bias=False), (5, 3, 6, 6)),
    (nn.ConvTranspose1d(3, 4, 2, bias=False), (5, 3, 6)),
    (nn.ConvTranspose2d(3, 4, 2, bias=False), (5, 3, 6, 6)),
    (nn.LayerNorm(3, bias=False), (5, 3)),
    (nn.LayerNorm(3, elementwise_affine=False), (5, 3)),
    (nn.BatchNorm1d(3, affine=False), (5, 3)),
    (nn.GroupNorm(1, 3, affine=False), (5, 3)),
    (nn.InstanceNorm1d(3, affine=True, track_running_stats=True), (5, 3, 6)),
    (nn.MultiheadAttention(4, 2, bias=False, batch_first=True), (5, 6, 4)),
    (nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True), (5, 6, 4)),
    (nn.TransformerEncoderLayer(4, 2, 8, bias=False, batch_first=True), (5, 6, 4)),
]


class Calls(Around):
    """Passes the one tensor as every argument of a layer."""

    def forward(self, x: Tensor) -> Any:
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(x, x, x)[0]
        return self.layer(x, x) if isinstance(self.layer, nn.Bilinear) else self.layer(x)


@pytest.mark.parametrize("case", FLAGS, ids=lambda case: type(case[0]).__name__)
def test_other_layers_are_kept_with_their_flags(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    """Every layer with an optional tensor, without it."""
    model, x = Calls(case[0]).eval(), torch.randn(case[1])
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(model)(x), model(x), rtol=0, atol=1e-6)
