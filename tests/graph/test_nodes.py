"""Names, paths, arguments and layers as data."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph.nodes import encoded, is_listed, layer_record, node_name, safe_paths
from scoreline.pipeline.graph.program import decoded
from scoreline.schemas.graph import Graph, NodeRef
from torch import fx, nn


def node(name: str = "x") -> fx.Node:
    made = fx.Graph().placeholder(name)
    made.meta["line"] = None
    return made


def test_paths_are_identifiers_and_unique() -> None:
    """Of any keys of a ModuleDict; each path again is the same."""
    found = safe_paths(["a.col-a", "a.col_a", "forward", "0.weight", "größe", "a.col-a"])
    assert found == {
        "a.col-a": "a.col_a", "a.col_a": "a.col_a_", "forward": "n_forward", "0.weight": "0.weight", "größe": "gr__e",
    }  # fmt: skip
    Graph.model_validate({"inputs": ["x"], "layers": {p: {"type": "Identity"} for p in found.values()}, "output": None})


def test_long_names_are_shortened_and_stay_unique() -> None:
    """Of deeply nested modules."""
    graph = fx.Graph()
    names = {node_name(graph.placeholder("a" * 150 + end)) for end in "bcd"}
    assert len(names) == 3
    assert max(map(len, names)) < 100
    assert node_name(node("short")) == "short"


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2.5, "text", math.inf, -math.inf, (1, (2, "a")), [1, [2]], {"a": (1, None)}, slice(1, None, 2),
        torch.float32, torch.bool, ..., np.float32(0.5), np.int64(4),
    ],
)  # fmt: skip
def test_arguments_come_back_as_they_were(value: Any) -> None:
    """Through JSON."""
    graph = Graph(inputs=["x"], output=encoded(value, node()))
    assert decoded(Graph.model_validate_json(graph.model_dump_json()).output) == value


def test_other_arguments() -> None:
    """A node becomes a reference; NaN stays NaN; anything else is refused."""
    assert encoded(node("y"), node()) == NodeRef(node="y")
    assert math.isnan(decoded(encoded(math.nan, node())))
    for value in (object(), torch.zeros(1), torch.complex64, 1j):
        with pytest.raises(BundleError, match=r"passes a .*, which cannot be kept as data"):
            encoded(value, node())


def test_layers_on_the_list() -> None:
    """By their class itself, not a subclass, and with its own forward."""

    class Linear(nn.Linear):
        pass

    replaced = nn.Linear(2, 1)
    replaced.forward = lambda x: x  # type: ignore[method-assign]
    assert is_listed(nn.Linear(2, 1))
    assert not any(is_listed(module) for module in (Linear(2, 1), replaced, nn.GRUCell(2, 1), nn.Sequential()))


def test_a_layer_with_its_tensors() -> None:
    """Buffers too; one with hooks is refused."""
    tensors: dict[str, torch.Tensor] = {}
    layer = nn.BatchNorm1d(3)
    record = layer_record(layer, node(), "a.b", tensors)
    assert (record.type, record.args["num_features"]) == ("BatchNorm1d", 3)
    assert set(tensors) == {f"a.b.{name}" for name in layer.state_dict()}
    layer.register_forward_hook(lambda *_: None)
    with pytest.raises(BundleError, match=r"has forward hooks on layer 'a\.b'"):
        layer_record(layer, node(), "a.b", {})
