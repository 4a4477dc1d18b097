"""A module built from a graph: its results, the results between, its layers and tensors, and errors."""

import weakref
from typing import Any

import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph.interpreter import GraphModel, build, intermediates, is_reserved, shapes
from scoreline.schemas.graph import Graph
from scoreline.schemas.heads import RegressionHead
from scoreline.schemas.inputs import Feature, ImageInput
from torch import Tensor, nn

from bundle_manifests import manifest_of

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
TENSORS = {
    "net.fc.weight": torch.randn(2, 3, generator=torch.Generator().manual_seed(1)),
    "net.fc.bias": torch.tensor([0.5, -1.0]),
    "scales.0": torch.tensor([2.0, 3.0]),
}
#: y = relu(x W' + b) · scale, with a ReLU that overwrites its input.
NODES: list[dict[str, Any]] = [
    {"name": "z", "op": "layer", "target": "net.fc", "args": [{"node": "x"}]},
    {"name": "h", "op": "layer", "target": "act", "args": [{"node": "z"}]},
    {"name": "scale", "op": "tensor", "target": "scales.0"},
    {
        "name": "y", "op": "function", "target": "torch.mul",
        "args": [{"node": "h"}], "kwargs": {"other": {"node": "scale"}},
    },
]  # fmt: skip
LAYERS = {
    "net.fc": {"type": "Linear", "args": {"in_features": 3, "out_features": 2, "bias": True}},
    "act": {"type": "ReLU", "args": {"inplace": True}},
}


def graph_of(**changes: Any) -> Graph:
    """The graph above with some fields replaced."""
    return Graph.model_validate({"inputs": ["x"], "layers": LAYERS, "nodes": NODES, "output": {"node": "y"}, **changes})


@pytest.fixture
def model() -> GraphModel:
    return build(graph_of(), {name: tensor.clone() for name, tensor in TENSORS.items()})


def linear() -> Tensor:
    return X @ TENSORS["net.fc.weight"].T + TENSORS["net.fc.bias"]


def test_results_are_those_of_the_formula(model: GraphModel) -> None:
    """Computed with plain torch; inputs are not changed."""
    before = X.clone()
    torch.testing.assert_close(model(X), linear().clamp(min=0) * TENSORS["scales.0"])
    assert torch.equal(X, before)


def test_outputs_keep_their_structure() -> None:
    """Tuples, lists, dictionaries and constants."""
    output = {"mapping": {"both": {"tuple": [{"node": "y"}, {"node": "x"}]}, "list": [{"node": "y"}], "n": 3}}
    found = build(graph_of(output=output), TENSORS)(X)
    assert list(found) == ["both", "list", "n"]
    assert isinstance(found["both"], tuple)
    assert torch.equal(found["both"][1], X)
    assert torch.equal(found["list"][0], found["both"][0])
    assert found["n"] == 3
    again = build(graph_of(nodes=[], layers={}, output={"node": "x"}), {})(X)
    assert again is X


def test_it_is_ready_for_inference(model: GraphModel) -> None:
    """In eval mode, without gradients, and the names of training."""
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert isinstance(model.get_submodule("net.fc"), nn.Linear)
    assert set(model.state_dict()) == set(TENSORS)


def test_tensors_are_not_copied() -> None:
    """Large weights exist once."""
    tensors = {name: tensor.clone() for name, tensor in TENSORS.items()}
    built = build(graph_of(), tensors)
    assert {name: tensor.data_ptr() for name, tensor in built.state_dict().items()} == {
        name: tensor.data_ptr() for name, tensor in tensors.items()
    }


def test_a_layer_that_is_replaced_takes_effect(model: GraphModel) -> None:
    model.act = nn.Identity()
    torch.testing.assert_close(model(X), linear() * TENSORS["scales.0"])


def test_hooks_of_layers_run(model: GraphModel) -> None:
    """Layers are called, not their forward."""
    called: list[str] = []
    model.get_submodule("net.fc").register_forward_hook(lambda *_: called.append("fc"))
    model(X)
    assert called == ["fc"]


def test_results_between_are_copied_before_they_are_overwritten(model: GraphModel) -> None:
    """The ReLU overwrites what the linear layer computed."""
    found = intermediates(model, ["h", "z"], X)
    assert set(found) == {"z", "h"}
    torch.testing.assert_close(found["z"], linear())
    torch.testing.assert_close(found["h"], linear().clamp(min=0))
    assert intermediates(model, [], X) == {}


def test_no_node_runs_after_the_last_that_is_needed(model: GraphModel) -> None:
    called: list[str] = []
    model.act.register_forward_hook(lambda *_: called.append("act"))
    intermediates(model, ["z"], X)
    assert called == []


def test_shapes_of_results(model: GraphModel) -> None:
    """A layer by its path, a function by its name; only results that are tensors."""
    assert shapes(model, X)[:2] == [("z", "net.fc", (5, 2)), ("h", "act", (5, 2))]
    assert shapes(model, X)[-1] == ("y", "mul", (5, 2))
    of_shape = {"name": "s", "op": "attribute", "target": "shape", "args": [{"node": "x"}]}
    assert shapes(build(graph_of(layers={}, nodes=[of_shape], output={"node": "s"}), {}), X) == []


def test_results_are_freed_when_they_are_no_longer_needed() -> None:
    """While a node runs, only its arguments are held."""
    nodes = [
        {"name": name, "op": "function", "target": "torch.add", "args": [{"node": before}, 1]}
        for before, name in (("x", "a"), ("a", "b"), ("b", "c"))
    ]
    chain = build(graph_of(layers={}, nodes=nodes, output={"node": "c"}), {})
    alive = []
    held: dict[str, Any] = {}
    for step, result in chain.results([X]):
        held[step.name] = weakref.ref(result)
        del result
        alive.append([name for name, reference in held.items() if reference() is not None])
    assert alive == [["a"], ["a", "b"], ["b", "c"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": {**LAYERS, "act": {"type": "ReLU", "args": {"slope": 1}}}}, "unknown argument 'slope'"),
        ({"layers": {**LAYERS, "net.fc": {"type": "Linear", "args": {"in_features": 3}}}}, "'net.fc' cannot be built"),
        ({"output": {"node": "later"}}, "'output' uses 'later' before it is computed"),
    ],
)
def test_graphs_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        build(graph_of(**changes), TENSORS)


@pytest.mark.parametrize(
    "name", ["forward", "training", "_modules", "state_dict", "_program", "_sizes", "T_destination"]
)
def test_names_that_every_module_has_are_reserved(name: str) -> None:
    """A layer of that name would replace a method."""
    assert is_reserved(name)
    call = {"name": "y", "op": "layer", "target": name, "args": [{"node": "x"}]}
    with pytest.raises(BundleError, match=f"'{name}' has a name that is already taken"):
        build(graph_of(layers={name: {"type": "Identity"}}, nodes=[call]), {})


def test_other_names_are_free() -> None:
    assert not any(is_reserved(name) for name in ("fc", "act", "0", "weight", "program"))


def test_a_tensor_cannot_have_the_name_of_a_layer() -> None:
    nodes = [*NODES, {"name": "w", "op": "tensor", "target": "net.fc"}]
    with pytest.raises(BundleError, match=r"'net\.fc' has a name that is already taken"):
        build(graph_of(nodes=nodes), {**TENSORS, "net.fc": torch.zeros(1)})


def test_missing_and_extra_tensors_are_named() -> None:
    """Also those that no layer owns."""
    with pytest.raises(BundleError, match=r"lacks the tensor 'scales\.0'; make the bundle again"):
        build(graph_of(), {name: tensor for name, tensor in TENSORS.items() if name != "scales.0"})
    with pytest.raises(BundleError, match="has an unknown tensor 'more'"):
        build(graph_of(), {**TENSORS, "more": torch.zeros(1)})


@pytest.mark.parametrize(("side", "refused"), [(1 << 13, False), (1 << 14, True)])
def test_rows_that_are_too_large(model: GraphModel, side: int, refused: bool) -> None:
    """Three rows must be within the limit of a pass, 2^32 numbers; the message has the number and the limit."""
    manifest = manifest_of(
        RegressionHead(),
        features=[Feature(name="i", dtype="image")],
        inputs=[ImageInput(name=name, columns=["i"], size=(side, side)) for name in ("i", "j")],
    )
    if refused:
        with pytest.raises(BundleError, match=r"a row of the inputs has 1,610,612,736 numbers, above 1,431,655,765"):
            model.refuse_large(manifest)
    else:
        model.refuse_large(manifest)
