"""A graph computes its result, and nothing else: weights stay as they are, and no number is random. Truth is torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.graph import operations
from scoreline.pipeline.graph.effects import _MAKING, _PASSING_ON, audit_effects
from scoreline.pipeline.graph.interpreter import GraphModel, build
from scoreline.pipeline.graph.operators import operators, short_name
from scoreline.pipeline.graph.optimise import prepare
from scoreline.pipeline.graph.trace import trace
from scoreline.schemas.graph import Graph, Node
from torch import Tensor, nn

from scoreline import BundleError, Regression, Scorer, save_bundle

X = torch.linspace(-2, 2, 12).reshape(3, 4)


def ref(name: str) -> dict[str, str]:
    return {"node": name}


def node(op: str, target: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"name": "y", "op": op, "target": target, "args": list(args), "kwargs": kwargs}


RNN = [ref("x"), ref("h"), [ref("w")], True, 1]
ON: list[tuple[str, dict[str, Any]]] = [
    ("training", node("function", "functional.dropout", ref("x"))),
    ("training", node("function", "functional.dropout", ref("x"), 0.5, True)),
    ("training", node("function", "functional.dropout", ref("x"), 0.5, ref("x"))),
    ("inplace", node("function", "functional.dropout", ref("x"), 0.5, False, True)),
    ("inplace", node("function", "functional.relu", ref("x"), True)),
    ("inplace", node("function", "functional.threshold", ref("x"), 0, 0, 1)),
    ("training", node("function", "functional.batch_norm", ref("x"), ref("m"), ref("v"), None, None, True)),
    ("training", node("function", "functional.batch_norm", ref("x"), None, ref("v"), training=True)),
    ("out", node("function", "torch.norm", ref("x"), 2, None, False, ref("w"))),
    ("out", node("function", "functional.normalize", ref("x"), 2.0, 1, 1e-12, ref("w"))),
    ("dropout_p", node("function", "functional.scaled_dot_product_attention", *[ref("x")] * 3, None, 0.5)),
    ("dropout_p", node("function", "functional.scaled_dot_product_attention", *[ref("x")] * 3, dropout_p=ref("x"))),
    ("dropout_p", node("operator", "aten.scaled_dot_product_attention.default", *[ref("x")] * 3, None, 0.5)),
    (
        "training",
        node("operator", "aten.batch_norm.default", ref("x"), None, None, ref("m"), ref("v"), True, 1, 1, False),
    ),
    (
        "use_input_stats",
        node("operator", "aten.instance_norm.default", ref("x"), None, None, ref("m"), ref("v"), True, 1, 1, False),
    ),
    *(
        ("train", node("operator", f"aten.{name}.input", *RNN, 0.5, True, False, False))
        for name in ("gru", "rnn_relu", "rnn_tanh", "lstm")
    ),
]
OFF = [
    node("function", "functional.dropout", ref("x"), 0.5, False),
    node("function", "functional.dropout", ref("x"), training=False),
    node("function", "functional.relu", ref("x"), inplace=False),
    node("function", "functional.batch_norm", ref("x"), ref("m"), ref("v")),
    node(
        "function", "functional.batch_norm", ref("x"), None, None, None, None, True
    ),  # of weights, in timm's StdConv2d
    node("function", "functional.embedding", ref("x"), ref("w"), 0),
    node("function", "functional.scaled_dot_product_attention", *[ref("x")] * 3, is_causal=True),
    node("operator", "aten.scaled_dot_product_attention.default", *[ref("x")] * 3, None, 0.0, True),
    node("operator", "aten.instance_norm.default", ref("x"), None, None, None, None, True, 0.1, 1e-5, False),
    node("operator", "aten.gru.input", *RNN, 0.5, False, False, False),
    node("method", "relu", ref("x")),
]


@pytest.mark.parametrize(("name", "given"), ON, ids=[f"{given['target']}:{name}" for name, given in ON])
def test_what_changes_tensors_or_is_random(name: str, given: dict[str, Any]) -> None:
    """By position, by name, by default, and where another node computes it."""
    with pytest.raises(BundleError, match=rf"^graph.json: node 'y' sets {name} of {given['target']}, which "):
        audit_effects(Node.model_validate(given))


@pytest.mark.parametrize("given", OFF, ids=[given["target"] for given in OFF])
def test_what_does_not(given: dict[str, Any]) -> None:
    audit_effects(Node.model_validate(given))


def test_every_random_operator_has_a_switch() -> None:
    """Those that torch marks as such; a new one must be looked at."""
    random = {name for name, operator in operators().items() if torch.Tag.nondeterministic_seeded in operator.tags}
    assert random == {
        given["target"] for name, given in ON if name in ("train", "dropout_p") and given["op"] == "operator"
    }


CHANGES = {
    "operator.iadd": torch.add,
    "operator.imul": torch.mul,
    "operator.isub": torch.sub,
    "operator.itruediv": torch.div,
}
WEIGHT = {"name": "w", "op": "tensor", "target": "w"}
VIEWS: dict[str, list[dict[str, Any]]] = {
    "itself": [],
    "a view": [{"name": "v", "op": "method", "target": "view", "args": [ref("w"), 1, 4]}],
    "a transposed view": [{"name": "v", "op": "method", "target": "t", "args": [ref("w")]}],
    "what dropout returns": [{"name": "v", "op": "layer", "target": "off", "args": [ref("w")]}],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "change", ["operator.iadd", "operator.imul", "operator.isub", "operator.itruediv", "LeakyReLU"]
)
@pytest.mark.parametrize("optimised", [False, True])
def test_weights_are_never_overwritten(change: str, view: str, optimised: bool) -> None:
    """Whatever name a graph has for them: every pass has the same result, and that of torch."""
    own = "v" if VIEWS[view] else "w"
    layers = {"off": {"type": "Dropout", "args": {}}} if view.startswith("what") else {}
    if change == "LeakyReLU":
        layers["act"] = {"type": "LeakyReLU", "args": {"inplace": True}}
        changed = {"name": "y", "op": "layer", "target": "act", "args": [ref(own)]}
    else:
        changed = {"name": "y", "op": "function", "target": change, "args": [ref(own), 3.0]}
    added = {"name": "z", "op": "function", "target": "torch.add", "args": [ref("x"), ref("y")]}
    nodes = [WEIGHT, *VIEWS[view], changed, added]
    graph = Graph.model_validate({"inputs": ["x"], "layers": layers, "nodes": nodes, "output": ref("z")})
    weights = {"w": torch.tensor([-4.0, -1.0, 2.0, 8.0])}
    model = _built(graph, weights, optimised=optimised)
    first, again = model(X), model(X)
    assert torch.equal(first, again)
    assert weights["w"].tolist() == [-4.0, -1.0, 2.0, 8.0]
    wanted = CHANGES[change](weights["w"], 3.0) if change in CHANGES else nn.LeakyReLU()(weights["w"])
    assert torch.equal(first, X + wanted)


def _built(graph: Graph, tensors: dict[str, Tensor], *, optimised: bool) -> GraphModel:
    if not optimised:
        return build(graph, tensors)
    ready = prepare(graph, tensors, frozenset())
    return build(ready.graph, ready.tensors)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_a_result_has_the_dtype_of_what_would_be_overwritten(dtype: torch.dtype) -> None:
    """As `x += y` has in torch."""
    nodes = [{"name": "y", "op": "function", "target": "operator.iadd", "args": [ref("x"), ref("o")]}]
    graph = Graph.model_validate({"inputs": ["x", "o"], "nodes": nodes, "output": ref("y")})
    other = torch.arange(12).reshape(3, 4).to(dtype)
    wanted = X.clone()
    wanted += other
    got = build(graph, {})(X, other)
    assert got.dtype == wanted.dtype
    assert torch.equal(got, wanted)


class Residual(nn.Module):
    """A block of a ResNet: one activation for all sums, each of which overwrites its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.norm, self.act = nn.BatchNorm2d(2), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.act(self.norm(self.first(x))))
        out += x
        return self.act(out)


def test_activations_of_new_tensors_still_overwrite() -> None:
    """The same layer at several places, each with its own decision; inputs are unchanged."""
    torch.manual_seed(0)
    model = Residual().eval()
    graph, tensors = trace(model)
    built = _built(graph, tensors, optimised=True)
    given = torch.randn(3, 2, 5, 5)
    before = given.clone()
    with torch.no_grad():
        assert torch.equal(built(given), model(before.clone()))
    assert torch.equal(given, before)
    assert [layer.inplace for layer in built.modules() if isinstance(layer, nn.ReLU)] == [True]


class Again(nn.Module):
    """What an activation overwrites is read again: afterwards, it has the new values."""

    def __init__(self, act: nn.Module, where: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.act, self.where, self.shift = act, where, nn.Parameter(torch.tensor([0.5, -0.5, 1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.where == "shifted":
            h = h + self.shift
        if self.where == "changed":
            h += self.shift
        a = self.act(h[:, :2] if self.where == "slice" else x if self.where == "input" else h)
        if self.where == "slice":
            return self.last(h + torch.cat([a, h[:, 2:]], dim=1))
        return self.last((x if self.where == "input" else h) + self.second(a))


@pytest.mark.parametrize("where", ["whole", "shifted", "changed", "slice", "input"])
@pytest.mark.parametrize("act", [nn.ReLU(inplace=True), nn.Hardtanh(-0.5, 0.5, inplace=True), nn.SiLU(inplace=True)])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_what_is_overwritten_and_read_again(tmp_path: Path, act: nn.Module, where: str, scale: float) -> None:
    """The scores are those of torch, for values beyond those of the sample, too; or the model is refused."""
    model = Again(act, where).eval()
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32), columns=list("abcd"))
    try:
        save_bundle(
            tmp_path / "b", model, features=list("abcd"), task=Regression(targets=["u", "v"]), sample=frame.head(50) / 9
        )
    except BundleError:
        assert where in ("slice", "input")
        return
    rows = frame * np.float32(scale)
    got = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.Table.from_pandas(rows))
    with torch.no_grad():
        wanted = model(torch.from_numpy(rows.to_numpy().copy())).numpy()
    np.testing.assert_allclose(np.stack([got["prediction_u"], got["prediction_v"]], 1), wanted, rtol=1e-4, atol=1e-4)


LISTED = [
    [
        WEIGHT,
        {"name": "l", "op": "function", "target": "operator.add", "args": [[ref("w")], [ref("w")]]},
        {"name": "v", "op": "function", "target": "operator.getitem", "args": [ref("l"), 0]},
    ],
    [
        WEIGHT,
        {"name": "l", "op": "method", "target": "split", "args": [ref("w"), 4]},
        {"name": "v", "op": "function", "target": "operator.getitem", "args": [ref("l"), 0]},
    ],
    [
        WEIGHT,
        {"name": "l", "op": "function", "target": "torch.einsum", "args": ["i->i", ref("w")]},
        {"name": "v", "op": "method", "target": "detach", "args": [ref("l")]},
    ],
]


@pytest.mark.parametrize("nodes", LISTED)
def test_weights_by_other_names(nodes: list[dict[str, Any]]) -> None:
    """Within lists, and as the results of what may return a view."""
    changed = {"name": "y", "op": "function", "target": "operator.iadd", "args": [ref("v"), 3.0]}
    added = {"name": "z", "op": "function", "target": "torch.add", "args": [ref("x"), ref("y")]}
    graph = Graph.model_validate({"inputs": ["x"], "nodes": [*nodes, changed, added], "output": ref("z")})
    weights = {"w": torch.tensor([-4.0, -1.0, 2.0, 8.0])}
    model = build(graph, weights)
    assert torch.equal(model(X), model(X))
    assert weights["w"].tolist() == [-4.0, -1.0, 2.0, 8.0]


def test_a_weight_that_is_overwritten_and_read_again() -> None:
    """Whatever its other readers would see is not what the file says."""
    changed = {"name": "y", "op": "function", "target": "operator.iadd", "args": [ref("w"), 3.0]}
    added = {"name": "z", "op": "function", "target": "torch.add", "args": [ref("w"), ref("y")]}
    graph = Graph.model_validate({"inputs": ["x"], "nodes": [WEIGHT, changed, added], "output": ref("z")})
    with pytest.raises(BundleError, match="node 'y' overwrites a weight that other nodes read"):
        build(graph, {"w": torch.zeros(4)})


W = torch.linspace(0.1, 0.9, 16).reshape(4, 4)
CALLS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("cat", "concat", "stack"), ([W],)),
    "linear": (W, W),
    "conv1d": (W[None], torch.eye(4)[:, :, None]),
    "conv2d": (W[None, None], torch.ones(1, 1, 1, 1)),
    **dict.fromkeys(("addmm", "baddbmm"), (W, W, W)),
    **dict.fromkeys(("bmm",), (W[None], W[None])),
    "baddbmm": (W[None], W[None], W[None]),
    "where": (W > 0, W, W),
    "layer_norm": (W, (4,)),
    "rms_norm": (W, (4,)),
    "group_norm": (W, 1),
    "batch_norm": (W, torch.zeros(4), torch.ones(4)),
    "embedding": (torch.arange(4), W),
    **dict.fromkeys(("softmax", "log_softmax"), (W, 1)),
    **dict.fromkeys(("neg", "tanh", "sigmoid", "exp", "sqrt", "rsqrt", "square", "sum", "mean", "gelu", "silu"), (W,)),
    "pow": (W, 1),
    "scaled_dot_product_attention": (W, W, W),
}


@pytest.mark.parametrize("name", sorted(_MAKING))
def test_results_that_share_no_memory(name: str) -> None:
    """With the arguments for which a result would equal its argument."""
    tried = 0
    for known in (operations.FUNCTIONS, operations.METHODS):
        for full, function in known.items():
            if short_name(full) != name:
                continue
            for arguments in (CALLS.get(name, (W, W)), *([(W, 1.0)] if name not in CALLS else [])):
                try:
                    made = function(*arguments)
                except (TypeError, RuntimeError, ValueError):
                    continue
                tried += 1
                assert made.untyped_storage().data_ptr() != W.untyped_storage().data_ptr(), full
    assert tried


PASSING: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "ConstantPad1d": (nn.ConstantPad1d(0, 0.0), (1, 2, 8)),
    "ConstantPad2d": (nn.ConstantPad2d(0, 0.0), (1, 2, 2, 4)),
    "ZeroPad2d": (nn.ZeroPad2d(0), (1, 2, 2, 4)),
    "ReflectionPad2d": (nn.ReflectionPad2d(0), (1, 2, 2, 4)),
    "ReplicationPad2d": (nn.ReplicationPad2d(0), (1, 2, 2, 4)),
    "Upsample": (nn.Upsample(scale_factor=1), (1, 2, 2, 4)),
    "PixelShuffle": (nn.PixelShuffle(1), (1, 2, 2, 4)),
    **{
        name: (getattr(nn, name)(1), (1, 2, 2, 4) if name.endswith("2d") else (1, 2, 8))
        for name in ("AvgPool1d", "AvgPool2d", "MaxPool1d", "MaxPool2d")
    },
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(8), (1, 2, 8)),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((2, 4)), (1, 2, 2, 4)),
    "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(8), (1, 2, 8)),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((2, 4)), (1, 2, 2, 4)),
    **{name: (getattr(nn, name)(), (4, 4)) for name in ("ReLU", "Hardtanh", "SiLU", "Sigmoid")},
    **{name: (getattr(nn, name)(), (1, 2, 2, 4)) for name in sorted(_PASSING_ON - {"Unflatten", "Dropout1d"})},
    "Dropout1d": (nn.Dropout1d(), (1, 2, 8)),
    "Unflatten": (nn.Unflatten(1, (4, 1)), (4, 4)),
}


@pytest.mark.parametrize("name", PASSING)
def test_layers_that_may_return_their_input(name: str) -> None:
    """Those that do are known."""
    layer, shape = PASSING[name]
    given = W.reshape(shape)
    shares = layer.eval()(given).untyped_storage().data_ptr() == W.untyped_storage().data_ptr()
    assert shares <= (name in _PASSING_ON)


@pytest.mark.parametrize("norm_type", [1.0, 2.0])
def test_rows_of_an_embedding_are_shortened_once(norm_type: float) -> None:
    """With `max_norm`, torch shortens rows when it looks them up, and changes the weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(6, 3, max_norm=0.7, norm_type=norm_type), nn.Flatten()).eval()
    graph, tensors = trace(model)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    built = build(graph, tensors)
    indices = torch.tensor([[0, 5], [3, 3], [1, 0]])
    got = built(indices)
    with torch.no_grad():
        assert torch.equal(got, model(indices.clone()))
    assert torch.equal(built(indices), got)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in kept.items())
