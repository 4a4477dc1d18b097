"""A graph computes its result, and nothing else: weights stay as they are, and no number is random. Truth is torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.graph.capture import capture
from scoreline.pipeline.graph.effects import audit_effects
from scoreline.pipeline.graph.example import ROWS, Example
from scoreline.pipeline.graph.interpreter import GraphModel, build
from scoreline.pipeline.graph.operators import operators
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


class Layouts(nn.Module):
    """Overwrites its input through what is a view of contiguous rows, and reads it again."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.act, self.flat = how, nn.Hardtanh(-12, 12, inplace=True), nn.Flatten(0)
        self.one, self.other = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "contiguous":
            return self.other(self.act(x.contiguous())) + self.one(x)
        if self.how == "transposed":
            return self.other(self.act(x.T.contiguous()).T) + self.one(x)
        flat = x.reshape(-1) if self.how == "reshape" else x.flatten() if self.how == "flatten" else self.flat(x)
        return self.other(self.act(flat).view(-1, 4)) + self.one(x)


@pytest.mark.parametrize("how", ["contiguous", "transposed", "reshape", "flatten", "layer"])
def test_a_view_of_rows_that_is_overwritten(tmp_path: Path, how: str) -> None:
    """Tables are columns in memory, where such a view would be a copy."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32), columns=list("abcd"))
    model = Layouts(how).eval()
    save_bundle(tmp_path / "b", model, features=list("abcd"), task=Regression(), sample=frame.head(50))
    rows = frame * np.float32(50)
    got = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.Table.from_pandas(rows))["prediction"]
    with torch.no_grad():
        wanted = model(torch.from_numpy(np.ascontiguousarray(rows.to_numpy())))[:, 0].numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


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


def test_a_weight_within_a_list_of_results() -> None:
    """A layer that returns two tensors, to which a weight is added as a third."""
    nodes = [
        WEIGHT,
        {"name": "p", "op": "layer", "target": "pool", "args": [ref("x")]},
        {"name": "l", "op": "function", "target": "operator.add", "args": [ref("p"), {"tuple": [ref("w")]}]},
        {"name": "v", "op": "function", "target": "operator.getitem", "args": [ref("l"), 2]},
        {"name": "y", "op": "function", "target": "operator.iadd", "args": [ref("v"), 3.0]},
        {"name": "z", "op": "function", "target": "torch.add", "args": [ref("x"), ref("w")]},
    ]
    layers = {"pool": {"type": "MaxPool1d", "args": {"kernel_size": 1, "return_indices": True}}}
    graph = Graph.model_validate({"inputs": ["x"], "layers": layers, "nodes": nodes, "output": ref("z")})
    weights = {"w": torch.tensor([-4.0, -1.0, 2.0, 8.0])}
    model = build(graph, weights)
    assert torch.equal(model(X), X + torch.tensor([-4.0, -1.0, 2.0, 8.0]))
    assert torch.equal(model(X), X + torch.tensor([-4.0, -1.0, 2.0, 8.0]))


class FromParameters(nn.Module):
    """An activation overwrites what was computed from a parameter, and it is read again."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.act = nn.Linear(4, 4), nn.Linear(4, 2), nn.ReLU(inplace=True)
        self.how, self.shift, self.slope = how, nn.Parameter(torch.randn(4)), nn.Parameter(torch.tensor([0.3]))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.how == "einsum":
            h = torch.einsum("ij,j->ij", h, self.shift)
        elif self.how == "prelu":
            h = nn.functional.prelu(h, self.slope)
        elif self.how == "max":
            h = torch.max(h, self.shift)
        else:
            h = h.reshape(-1, 4) + self.shift[None].expand(h.shape[0], -1)
        a = self.act(h)
        return self.last(h * 2 + a)


@pytest.mark.parametrize("how", ["einsum", "prelu", "max", "expand"])
def test_what_is_computed_from_parameters(how: str) -> None:
    """Is no weight, and is overwritten as in torch."""
    model = FromParameters(how).eval()
    graph, tensors = trace(model)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    with torch.no_grad():
        wanted = model(X.clone())
    for optimised in (False, True):
        built = _built(graph, tensors, optimised=optimised)
        for _ in range(2):
            torch.testing.assert_close(built(X.clone()), wanted)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in kept.items())


class NormedBefore(nn.Module):
    """A BatchNorm reads what is overwritten before its Linear does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.act = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True)
        self.one, self.other = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        b = self.norm(h)
        a = self.act(h)
        return self.one(b) + self.other(a)


def test_a_norm_of_what_is_overwritten_is_not_folded() -> None:
    """Its Linear would read the new values."""
    model = NormedBefore().eval()
    model.norm.running_mean.normal_()
    graph, tensors = trace(model)
    flat = frozenset(node.name for node in graph.nodes)
    ready = prepare(graph, tensors, flat)
    with torch.no_grad():
        torch.testing.assert_close(build(ready.graph, ready.tensors)(X.clone()), model(X.clone()))
    assert ready.folded == 0


class Tied(nn.Module):
    """A table whose rows one embedding shortens is read in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(6, 3, max_norm=0.5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.rows(ids)[:, 0] @ self.rows.weight.T


class ByLayer(Tied):
    """By the layer, and by the function, which alone shortens them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return (nn.functional.embedding(ids, self.rows.weight, max_norm=0.5) + self.rows(ids)).sum(1)


class Two(nn.Module):
    """Two embeddings, of which one shortens the rows of its table."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.full = nn.Embedding(6, 3, max_norm=0.5), nn.Embedding(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.full(ids).sum(1) + self.short(ids).sum(1)


class ToLinear(nn.Module):
    """A table with the weight of a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.out = nn.Embedding(6, 3, max_norm=0.5), nn.Linear(3, 6, bias=False)
        self.out.weight = self.rows.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.rows(ids).sum(1))


class ToBuffer(nn.Module):
    """A table that is a buffer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(6, 3, max_norm=0.5)
        self.register_buffer("all", self.rows.weight.data)

    def forward(self, ids: Tensor) -> Tensor:
        return self.rows(ids).sum(1) + self.all.sum()


@pytest.mark.parametrize("kind", [ToLinear, ToBuffer])
def test_a_shortened_table_that_another_module_shares(kind: type[nn.Module]) -> None:
    """Saved, each has a table of its own."""
    example = Example(arguments={"x": torch.zeros(2, 4, dtype=torch.int64)}, dynamic={"x": {0: ROWS}})
    with pytest.raises(BundleError, match="shortens rows of a table \\(max_norm\\) that is read in another way"):
        capture(kind().eval(), [example])


@pytest.mark.parametrize("kind", [Tied, ByLayer])
def test_a_shortened_table_that_is_read_in_another_way(kind: type[nn.Module]) -> None:
    """In torch, its rows depend on those that were looked up before."""
    graph, tensors = trace(kind().eval())
    with pytest.raises(BundleError, match="shortens rows of a table \\(max_norm\\) that is read in another way"):
        build(graph, tensors)


def test_a_shortened_table_that_another_embedding_shares() -> None:
    """Saved, the two embeddings have tables of their own."""
    model = Two().eval()
    example = Example(arguments={"x": torch.zeros(2, 4, dtype=torch.int64)}, dynamic={"x": {0: ROWS}})
    capture(model, [example])
    model.full.weight = model.short.weight
    with pytest.raises(BundleError, match="shortens rows of a table \\(max_norm\\) that is read in another way"):
        capture(model, [example])


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
