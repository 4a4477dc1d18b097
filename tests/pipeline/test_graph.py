"""A model as data: what is traced comes back exactly, and a file can name nothing but what is on the lists."""

import copy
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph import operations
from scoreline.pipeline.graph.audit import audit
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.trace import trace
from scoreline.schemas.graph import Graph
from torch import Tensor, nn

from textbook import (
    ClassificationModel,
    Classifier,
    Embedded,
    FlexibleNN,
    Residual,
    SingleLayerNN,
    randomized,
)

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """Functions, methods and operators, and shapes as they are asked for in the wild."""

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
    """Self-attention over features, by hand."""

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
    """Through graph.json as text, and back."""
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
    """Every output equal to the last bit, layers and tensors under their own names, gradients alive."""
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
    """int64 in, exactly the same out."""
    model = Embedded(4, 10).eval()
    x = torch.randint(0, 10, (7, 4))
    assert torch.equal(rebuilt(model)(x), model(x))


@pytest.mark.parametrize("name", sorted(operations.LAYERS))
def test_every_layer_on_the_list_comes_back_equal(name: str) -> None:
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
        if x.sum() > 0:  # the line to be named
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


class AlwaysDrops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy())


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def custom_activation() -> nn.Module:
    """An activation that torch has no name for."""
    return nn.Sequential(nn.Unflatten(1, (1, 6)), nn.TransformerEncoderLayer(6, 2, 8, activation=torch.tanh))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (LooksAtValues(), r"test_graph\.py:\d+ `if x\.sum\(\) > 0:.*torch\.where"),
        (LoopsOverRows(), r"test_graph\.py:\d+ `return torch\.stack.*fixed number"),
        (InPlace(), r"(setitem|item assignment).*test_graph\.py:\d+ `h\[:, 0\] = 0\.0`"),
        (Unlisted(), r"svdvals.*test_graph\.py:\d+ `return torch\.linalg"),
        (AlwaysDrops(), r"at random.*test_graph\.py:\d+ `return F\.dropout.*training=self\.training"),
        (Numpy(), r"test_graph\.py:\d+ `return torch\.from_numpy"),
        (custom_activation(), "TransformerEncoderLayer '1' with an argument that is no number or name"),
        (TwoInputs(), r"takes 2 tensors \(y has no default\)"),
        (nn.Sequential(nn.Conv3d(1, 1, 1)), "layer '0' is a Conv3d, which cannot be kept as data"),
        (nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))), "weight_norm|Parametrized"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_kept_is_refused_at_its_line(model: nn.Module, says: str) -> None:
    """The message names the user's own line, and what would help."""
    with pytest.raises(BundleError, match=says) as caught:
        trace(copy.deepcopy(model).eval() if not isinstance(model, nn.Sequential) else model.eval())
    assert "\n" not in str(caught.value)


def graph_json(**changes: Any) -> dict[str, Any]:
    """A small graph, with something put in place of something else."""
    graph = {
        "format": 1,
        "inputs": ["x"],
        "layers": {"fc": {"type": "Linear", "args": {"in_features": 6, "out_features": 2, "bias": True}}},
        "nodes": [
            {"name": "h", "op": "layer", "target": "fc", "args": [{"node": "x"}]},
            {"name": "y", "op": "method", "target": "tanh", "args": [{"node": "h"}]},
        ],
        "output": {"node": "y"},
    }
    return {**graph, **changes}


def node(**changes: Any) -> list[dict[str, Any]]:
    """One node that works, with something put in place of something else."""
    return [{"name": "y", "op": "method", "target": "tanh", "args": [{"node": "x"}], **changes}]


EVIL = "x, y=exec(bytes([105,109,112]))"
BAD_GRAPHS = {
    "input that is code": graph_json(inputs=[EVIL], nodes=[], output={"node": EVIL}),
    "node name that is code": graph_json(nodes=node(name=EVIL)),
    "reference that is code": graph_json(nodes=node(args=[{"node": EVIL}])),
    "layer path that is code": graph_json(layers={"fc;import os": {"type": "Linear"}}),
    "layer not on the list": graph_json(layers={"fc": {"type": "Module"}}),
    "layer by dotted name": graph_json(layers={"fc": {"type": "torch.nn.Linear"}}),
    "layer argument it does not take": graph_json(layers={"fc": {"type": "Linear", "args": {"device": "cuda"}}}),
    "layer with a factory": graph_json(layers={"fc": {"type": "Linear", "args": {"dtype": "float16"}}}),
    "layer that cannot be built": graph_json(layers={"fc": {"type": "Linear", "args": {"in_features": "6"}}}),
    "layer named like a method": graph_json(layers={"forward": {"type": "Identity"}}, nodes=node()),
    "layer named like a dunder": graph_json(layers={"__class__": {"type": "Identity"}}, nodes=node()),
    "function not on the list": graph_json(nodes=node(op="function", target="os.system", args=["true"])),
    "builtin": graph_json(nodes=node(op="function", target="eval", args=["1"])),
    "getattr": graph_json(nodes=node(op="function", target="getattr", args=[{"node": "x"}, "__class__"])),
    "method not on the list": graph_json(nodes=node(target="numpy")),
    "dunder method": graph_json(nodes=node(target="__reduce_ex__")),
    "method of something else": graph_json(nodes=node(args=["text"])),
    "attribute not on the list": graph_json(nodes=node(op="attribute", target="__class__")),
    "attribute that walks": graph_json(nodes=node(op="attribute", target="shape.__class__")),
    "tensor that walks": graph_json(nodes=node(op="tensor", target="fc.__dict__;x", args=[])),
    "dtype not on the list": graph_json(nodes=node(target="to", args=[{"node": "x"}, {"dtype": "complex64"}])),
    "result before it is there": graph_json(nodes=node(args=[{"node": "y"}])),
    "output that is not there": graph_json(output={"node": "z"}),
    "node twice": graph_json(nodes=node() + node()),
    "operation unknown": graph_json(nodes=node(op="call_function")),
    "layer that is not there": graph_json(nodes=node(op="layer", target="other")),
    "unknown field": graph_json(code="import os"),
    "layer never called": graph_json(nodes=node()),
    "layer within a layer": graph_json(
        layers={"a": {"type": "Identity"}, "a.weight": {"type": "Identity"}},
        nodes=[
            {"name": "h", "op": "layer", "target": "a", "args": [{"node": "x"}]},
            {"name": "y", "op": "layer", "target": "a.weight", "args": [{"node": "h"}]},
        ],
    ),
    "result moved elsewhere": graph_json(nodes=node(target="to", args=[{"node": "x"}, "meta"])),
    "result put on a device": graph_json(
        nodes=node(op="function", target="torch.zeros_like", kwargs={"device": "cuda"})
    ),
    "argument of two kinds": graph_json(nodes=node(args=[{"node": "x", "tuple": []}])),
    "another format": graph_json(format=2),
}


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_a_graph_that_names_what_is_not_on_the_lists_is_refused(name: str) -> None:
    """M11: refused before anything is built."""
    try:
        graph = Graph.model_validate(json.loads(json.dumps(BAD_GRAPHS[name])))
    except ValidationError:
        return
    with pytest.raises(BundleError):
        build(graph, {"fc.weight": torch.zeros(2, 6), "fc.bias": torch.zeros(2)})


def test_the_graph_they_are_made_from_is_fine() -> None:
    """So that each of the above fails for its own reason."""
    weights = {"fc.weight": torch.randn(2, 6), "fc.bias": torch.randn(2)}
    model = build(Graph.model_validate(graph_json()), weights)
    assert torch.equal(model(X), torch.tanh(F.linear(X, weights["fc.weight"], weights["fc.bias"])))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"fc.weight": torch.zeros(2, 6)}, "lacks tensor 'fc.bias'"),
        ({"fc.weight": torch.zeros(2, 6), "fc.bias": torch.zeros(2), "more": torch.zeros(1)}, "too much.*'more'"),
        ({"fc.weight": torch.zeros(6, 2), "fc.bias": torch.zeros(2)}, "do not fit"),
    ],
)
def test_weights_must_fit_the_graph(tensors: dict[str, Tensor], says: str) -> None:
    """Strict, and named."""
    with pytest.raises(BundleError, match=says):
        build(Graph.model_validate(graph_json()), tensors)


@pytest.mark.parametrize(
    ("target", "args"),
    [
        ("operator.pow", [9, 9**9]),
        ("operator.pow", [10, 10**8]),
        ("operator.mul", ["a", 10**11]),
        ("operator.mul", [[1], 10**11]),
        ("operator.mod", ["%1000000000000d", 1]),
        ("operator.add", ["a", "b"]),
    ],
)
def test_numbers_of_a_file_cannot_keep_the_machine_busy(target: str, args: list[Any]) -> None:
    """Arithmetic is for tensors and shapes."""
    graph = graph_json(layers={}, nodes=[{"name": "y", "op": "function", "target": target, "args": args}])
    model = build(Graph.model_validate(graph), {})
    with pytest.raises(ValueError, match=r"pow|mul|mod|add|power"):
        model(X)


@given(st.text(max_size=30))
def test_no_name_outside_the_lists_passes(name: str) -> None:
    """Any text as the target of any operation."""
    for op, known in (
        ("function", operations.FUNCTIONS),
        ("method", operations.METHODS),
        ("attribute", operations.ATTRIBUTES),
        ("layer", {"fc": None}),
    ):
        if name not in known:
            graph = Graph.model_validate(graph_json(nodes=node(op=op, target=name)))
            with pytest.raises(BundleError):
                audit(graph)


def test_building_a_model_draws_no_random_numbers() -> None:
    """Layers are made without initialisation, so the caller's seed is untouched."""
    graph, tensors = trace(ClassificationModel(6, [8], 2).eval())
    before = torch.get_rng_state()
    build(graph, tensors)
    assert torch.equal(before, torch.get_rng_state())
