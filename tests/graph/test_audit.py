"""A graph file can only name what is on the allow-lists."""

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
from scoreline.pipeline.graph.operators import operators
from scoreline.schemas.graph import Graph
from torch import Tensor

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))


def graph_json(**changes: Any) -> dict[str, Any]:
    """A small graph with some fields replaced."""
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
    """One valid node with some fields replaced."""
    return [{"name": "y", "op": "method", "target": "tanh", "args": [{"node": "x"}], **changes}]


EVIL = "x, y=exec(bytes([105,109,112]))"

BAD_GRAPHS = {
    "input that is code": graph_json(inputs=[EVIL], nodes=[], output={"node": EVIL}),
    "node name that is code": graph_json(nodes=node(name=EVIL)),
    "reference that is code": graph_json(nodes=node(args=[{"node": EVIL}])),
    "layer path that is code": graph_json(layers={"fc;import os": {"type": "Linear"}}),
    "layer not on the list": graph_json(layers={"fc": {"type": "Module"}}),
    "layer by dotted name": graph_json(layers={"fc": {"type": "torch.nn.Linear"}}),
    "unknown layer argument": graph_json(layers={"fc": {"type": "Linear", "args": {"device": "cuda"}}}),
    "layer with a factory": graph_json(layers={"fc": {"type": "Linear", "args": {"dtype": "float16"}}}),
    "layer that cannot be built": graph_json(layers={"fc": {"type": "Linear", "args": {"in_features": "6"}}}),
    "layer named like a method": graph_json(layers={"forward": {"type": "Identity"}}, nodes=node()),
    "layer named like a dunder": graph_json(layers={"__class__": {"type": "Identity"}}, nodes=node()),
    "function not on the list": graph_json(nodes=node(op="function", target="os.system", args=["true"])),
    "builtin": graph_json(nodes=node(op="function", target="eval", args=["1"])),
    "getattr": graph_json(nodes=node(op="function", target="getattr", args=[{"node": "x"}, "__class__"])),
    "method not on the list": graph_json(nodes=node(target="numpy")),
    "dunder method": graph_json(nodes=node(target="__reduce_ex__")),
    "method of a text": graph_json(nodes=node(args=["text"])),
    "attribute not on the list": graph_json(nodes=node(op="attribute", target="__class__")),
    "attribute with a path": graph_json(nodes=node(op="attribute", target="shape.__class__")),
    "tensor that is not a path": graph_json(nodes=node(op="tensor", target="fc.__dict__;x", args=[])),
    "dtype not on the list": graph_json(nodes=node(target="to", args=[{"node": "x"}, {"dtype": "complex64"}])),
    "result used before it is computed": graph_json(nodes=node(args=[{"node": "y"}])),
    "output that does not exist": graph_json(output={"node": "z"}),
    "node twice": graph_json(nodes=node() + node()),
    "operation unknown": graph_json(nodes=node(op="call_function")),
    "layer that does not exist": graph_json(nodes=node(op="layer", target="other")),
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
def test_a_graph_that_names_anything_off_the_lists_is_refused(name: str) -> None:
    """M11: it is refused before anything is built."""
    try:
        graph = Graph.model_validate(json.loads(json.dumps(BAD_GRAPHS[name])))
    except ValidationError:
        return
    with pytest.raises(BundleError):
        build(graph, {"fc.weight": torch.zeros(2, 6), "fc.bias": torch.zeros(2)})


def test_the_unchanged_graph_is_accepted() -> None:
    """So each graph above is refused for its own change."""
    weights = {"fc.weight": torch.randn(2, 6), "fc.bias": torch.randn(2)}
    model = build(Graph.model_validate(graph_json()), weights)
    assert torch.equal(model(X), torch.tanh(F.linear(X, weights["fc.weight"], weights["fc.bias"])))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"fc.weight": torch.zeros(2, 6)}, "lacks the tensor 'fc.bias'"),
        ({"fc.weight": torch.zeros(2, 6), "fc.bias": torch.zeros(2), "more": torch.zeros(1)}, "unknown tensor 'more'"),
        ({"fc.weight": torch.zeros(6, 2), "fc.bias": torch.zeros(2)}, "do not fit"),
    ],
)
def test_weights_must_fit_the_graph(tensors: dict[str, Tensor], message: str) -> None:
    """Missing, extra and misshapen tensors are named."""
    with pytest.raises(BundleError, match=message):
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
def test_arithmetic_on_large_constants_is_refused(target: str, args: list[Any]) -> None:
    """Arithmetic is only for tensors, shapes and numbers of a reasonable size."""
    graph = graph_json(layers={}, nodes=[{"name": "y", "op": "function", "target": target, "args": args}])
    model = build(Graph.model_validate(graph), {})
    with pytest.raises(ValueError, match=r"pow|mul|mod|add|power"):
        model(X)


@given(st.text(max_size=30))
def test_no_name_off_the_lists_is_accepted(name: str) -> None:
    """Any text as the target of any operation."""
    for op, known in (
        ("function", operations.FUNCTIONS),
        ("method", operations.METHODS),
        ("attribute", operations.ATTRIBUTES),
        ("operator", operators()),
        ("layer", {"fc": None}),
    ):
        if name not in known:
            graph = Graph.model_validate(graph_json(nodes=node(op=op, target=name)))
            with pytest.raises(BundleError):
                audit(graph)
