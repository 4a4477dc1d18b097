"""Tracing: a model rebuilt from its graph is exactly equal, and unsupported code is refused with its line."""

import copy
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph import operations
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.trace import trace
from scoreline.schemas.graph import Graph
from torch import Tensor, nn

from textbook import ClassificationModel, Classifier, Embedded, FlexibleNN, Residual, SingleLayerNN, randomized

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """Functions, methods, operators and shapes as models in practice use them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor, temperature: float = 2.0, mask: Tensor | None = None) -> Tensor:
        b = x.shape[0]
        h = F.linear(x, self.weight).tanh() / temperature
        h = torch.where(h > 0, h, h * 0.1) + F.linear(x, self.fc.weight)
        h = h.reshape(b, 2, 3).transpose(1, 2).flatten(1)
        h = h.masked_fill(h < -1.0, float("-inf")).clamp(min=-5.0)
        left, right = h.chunk(2, dim=1)
        h = torch.cat([left * right, x[:, 1:4], x[..., -1:]], dim=-1)
        if mask is not None:
            h = h * mask
        return F.layer_norm(h, (7,)).to(torch.float32).sum(dim=1, keepdim=True) ** 2


class Attention(nn.Module):
    """Self-attention over features, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(1, 12)
        self.out = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        q, k, v = self.qkv(x.unsqueeze(-1)).chunk(3, dim=-1)
        a = torch.softmax(q @ k.transpose(-2, -1) / 4**0.5, dim=-1)
        return {"logits": self.out((a @ v).flatten(1)), "attention": a}


MODELS = [
    SingleLayerNN(6, 1),
    SingleLayerNN(6, 3, "softmax"),
    FlexibleNN([6, 8, 4], ["relu", "tanh"]),
    Classifier(6, 8, 3),
    ClassificationModel(6, [16, 8], 3),
    Residual(6),
    Functional(),
    Attention(),
    nn.Linear(6, 2),
    nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.PReLU()), nn.Unflatten(1, (2, 2)), nn.Flatten()),
]


def rebuilt(model: nn.Module) -> nn.Module:
    """The model after a round trip through the text of graph.json."""
    graph, tensors = trace(copy.deepcopy(model).eval())
    return build(Graph.model_validate_json(graph.model_dump_json()), tensors)


def leaves(value: Any) -> list[Tensor]:
    """Every tensor in an output."""
    if isinstance(value, Tensor):
        return [value]
    entries = value.values() if isinstance(value, dict) else value
    return [leaf for entry in entries for leaf in leaves(entry)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_round_trip_is_exact(model: nn.Module) -> None:
    """Every output is equal to the last bit, layers and tensors keep their names, and gradients flow."""
    model = randomized(model).eval()
    again = rebuilt(model)
    with torch.no_grad():
        expected, got = model(X), again(X)
    assert type(got) is type(expected)
    for one, other in zip(leaves(expected), leaves(got), strict=True):
        assert torch.equal(one, other)
    if not isinstance(model, nn.Linear):
        assert set(again.state_dict()) <= set(model.state_dict())
    x = X.clone().requires_grad_()
    leaves(again(x))[0].sum().backward()
    assert x.grad is not None


def test_embedding_takes_indices() -> None:
    """int64 indices give exactly the same outputs."""
    model = Embedded(4, 10).eval()
    x = torch.randint(0, 10, (7, 4))
    assert torch.equal(rebuilt(model)(x), model(x))


@pytest.mark.parametrize("name", sorted(operations.LAYERS))
def test_every_layer_on_the_list_is_rebuilt_equal(name: str) -> None:
    """Built from its saved arguments, it prints and computes the same."""
    arguments: dict[str, tuple[Any, ...]] = {
        "Linear": (6, 2), "Bilinear": (6, 6, 2), "Embedding": (20, 3), "Unflatten": (1, (2, 3)),
        "BatchNorm1d": (6,), "LayerNorm": (6,), "GroupNorm": (2, 6), "InstanceNorm1d": (9,),
        "RMSNorm": (6,), "Softmax": (1,), "Softmin": (1,), "LogSoftmax": (1,), "BatchNorm2d": (1,),
        "LocalResponseNorm": (2,), "Threshold": (0.1, 0.2), "Conv1d": (1, 3, 2), "Conv2d": (1, 3, 2),
        "MaxPool1d": (2,), "MaxPool2d": (2,), "AvgPool1d": (2,), "AvgPool2d": (2,), "AdaptiveAvgPool1d": (2,),
        "AdaptiveAvgPool2d": (2,), "RNN": (1, 4), "GRU": (1, 4, 2), "LSTM": (1, 4), "MultiheadAttention": (6, 2),
        "TransformerEncoderLayer": (6, 2, 8), "AdaptiveMaxPool1d": (2,), "AdaptiveMaxPool2d": (2,),
        "ConvTranspose1d": (1, 3, 2), "ConvTranspose2d": (1, 3, 2), "InstanceNorm2d": (1,), "Upsample": (None, 2),
        "PixelShuffle": (1,), "ConstantPad1d": (1, 0.5), "ConstantPad2d": (1, 0.5), "ZeroPad2d": (1,),
        "ReflectionPad2d": (1,), "ReplicationPad2d": (1,),
    }  # fmt: skip
    named = (
        {"batch_first": True} if name in ("RNN", "GRU", "LSTM", "MultiheadAttention", "TransformerEncoderLayer") else {}
    )

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = operations.LAYERS[name](*arguments.get(name, ()), **named)

        def forward(self, x: Tensor) -> Tensor:
            if name in ("Bilinear", "CosineSimilarity"):
                return self.layer(x, x * 2)
            if name in ("InstanceNorm1d", "Dropout1d", "LocalResponseNorm"):
                return self.layer(x.unsqueeze(0))
            if name in ("RNN", "GRU", "LSTM"):
                return self.layer(x.unsqueeze(-1))[0]
            if name == "MultiheadAttention":
                return self.layer(x.unsqueeze(1), x.unsqueeze(1), x.unsqueeze(1))[0]
            if name == "TransformerEncoderLayer":
                return self.layer(x.unsqueeze(1))
            if name.endswith("2d"):
                return self.layer(x.reshape(-1, 1, 2, 3))
            if name == "PixelShuffle":
                return self.layer(x.reshape(-1, 1, 2, 3))
            if name in ("Conv1d", "ConvTranspose1d", "Upsample") or name.endswith(("Pool1d", "Pad1d")):
                return self.layer(x.unsqueeze(1))
            return self.layer(x)

    model = Around().eval()
    x = X.abs().mul(5).long() if name == "Embedding" else X
    again = rebuilt(model)
    assert repr(again.layer) == repr(model.layer)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


class LooksAtValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # the line that the message names
            return x
        return -x


class LoopsOverRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row * 2 for row in x])


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h = x * 1
        h[:, 0] = 0.0
        return h


class Unlisted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x)


class AlwaysDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy())


class TwoArguments(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def custom_activation() -> nn.Module:
    """A layer with an activation that torch has no name for."""
    return nn.Sequential(nn.Unflatten(1, (1, 6)), nn.TransformerEncoderLayer(6, 2, 8, activation=torch.tanh))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LooksAtValues(), r"test_trace\.py:\d+ `if x\.sum\(\) > 0:.*torch\.where"),
        (LoopsOverRows(), r"test_trace\.py:\d+ `return torch\.stack.*fixed number"),
        (InPlace(), r"(setitem|item assignment).*test_trace\.py:\d+ `h\[:, 0\] = 0\.0`"),
        (Unlisted(), r"svdvals.*test_trace\.py:\d+ `return torch\.linalg"),
        (AlwaysDropout(), r"dropout in eval mode.*test_trace\.py:\d+ `return F\.dropout.*training=self\.training"),
        (Numpy(), r"test_trace\.py:\d+ `return torch\.from_numpy"),
        (custom_activation(), "TransformerEncoderLayer '1' with an argument that is neither number nor name"),
        (TwoArguments(), r"takes 2 arguments \(y without a default\)"),
        (nn.Sequential(nn.Conv3d(1, 1, 1)), "layer '0' is a Conv3d, which cannot be kept as data"),
        (nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))), "weight_norm|Parametrized"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_unsupported_code_is_refused_with_its_line(model: nn.Module, message: str) -> None:
    """The message names the user's own line and what to do."""
    with pytest.raises(BundleError, match=message) as caught:
        trace(copy.deepcopy(model).eval() if not isinstance(model, nn.Sequential) else model.eval())
    assert "\n" not in str(caught.value)


def test_building_a_model_draws_no_random_numbers() -> None:
    """Layers are built without initialisation, so the state of the random number generator does not change."""
    graph, tensors = trace(ClassificationModel(6, [8], 2).eval())
    before = torch.get_rng_state()
    build(graph, tensors)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("scalar", [np.float32(1.5), np.float64(1.5), np.int64(2), np.bool_(True)], ids=str)
def test_scalars_of_numpy_are_numbers(scalar: Any) -> None:
    """On either side of an operator, and as an argument."""

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (scalar * x - scalar / (x.abs() + scalar) + x * scalar).clamp(max=scalar)

    x = torch.linspace(-2, 2, 12).reshape(4, 3)
    assert torch.equal(rebuilt(Scaled())(x), Scaled()(x))


def test_other_threads_run_modules_meanwhile() -> None:
    """torch.fx replaces methods of every module in the process while it traces."""
    other, found = randomized(ClassificationModel(6, [8], 2)).eval(), list[Tensor]()
    wanted = other(X)

    class Waiting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            thread = Thread(target=lambda: found.append(other(X)))
            thread.start()
            thread.join()
            return self.fc(x)

    graph, _ = trace(Waiting().eval())
    assert [node.op for node in graph.nodes] == ["layer"]
    assert [torch.equal(one, wanted) for one in found] == [True]
