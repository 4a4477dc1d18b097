"""The operations that a graph may name: what their names mean, and the limits of arithmetic on plain numbers."""

import operator
from typing import Any

import pytest
import torch
from scoreline.pipeline.graph.operations import (
    ATTRIBUTES,
    DTYPE_NAMES,
    DTYPES,
    FUNCTION_NAMES,
    FUNCTIONS,
    LAYERS,
    METHODS,
    layer_arguments,
    layer_parameters,
)
from torch import nn
from torch.nn import functional

X = torch.arange(6.0).reshape(2, 3) - 2
GUARDED = ("add", "floordiv", "iadd", "imul", "isub", "itruediv", "mod", "mul", "pow", "sub", "truediv")


def test_names_mean_the_functions_of_that_name() -> None:
    """A graph that names `torch.cat` runs `torch.cat`."""
    modules = {"torch": torch, "functional": functional, "operator": operator}
    for name, function in FUNCTIONS.items():
        module, _, attribute = name.partition(".")
        function = getattr(function, "__wrapped__", function) if name == "functional.embedding" else function
        if module in modules and not (module == "operator" and attribute in GUARDED) and "sym_" not in name:
            assert function is getattr(modules[module], attribute), name
    assert all(LAYERS[name] is getattr(nn, name) for name in LAYERS)
    assert all(METHODS[name] is getattr(torch.Tensor, name) for name in METHODS)
    assert all(DTYPES[name] is getattr(torch, name) for name in DTYPES)


def test_names_are_found_again() -> None:
    """Every function and dtype can be written to a graph, and has a name that reads as the same one."""
    assert {FUNCTION_NAMES[function] for function in FUNCTION_NAMES} <= set(FUNCTIONS)
    assert FUNCTION_NAMES[torch.cat] == "torch.cat"
    assert FUNCTION_NAMES[operator.add] == "operator.add"
    assert {DTYPES[name] for name in DTYPE_NAMES.values()} == set(DTYPES.values())


@pytest.mark.parametrize("name", GUARDED)
def test_operators_on_tensors_and_numbers(name: str) -> None:
    """As in Python."""
    plain = getattr(operator, name)
    for args in ((X.clone(), 2), (X.clone(), X + 7), (7, 2), (7.5, -2)):
        found, expected = FUNCTIONS[f"operator.{name}"](*args), plain(*args)
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))


@pytest.mark.parametrize("name", sorted(set(GUARDED) - {"pow"}))
@pytest.mark.parametrize("number", [2**63, -(2**63), float("inf"), float("nan"), "5", [5], None])
def test_operators_on_other_values_are_refused(name: str, number: Any) -> None:
    """Numbers that are not below 2^63 in size, and what is not a number, on either side."""
    function = FUNCTIONS[f"operator.{name}"]
    for args in ((number, 3), (3, number)):
        with pytest.raises(ValueError, match=name):
            function(*args)


def test_limits() -> None:
    """At the limit and one above: the size of numbers, powers, and the length of lists of shapes."""
    multiply, power, add = (FUNCTIONS[f"operator.{name}"] for name in ("mul", "pow", "add"))
    assert multiply(2**63 - 1, 2) == 2 * (2**63 - 1)
    assert power(2, 64) == 2**64
    for exponent in (65, -65, 64.5):
        with pytest.raises(ValueError, match=f"a power of {exponent}"):
            power(2, exponent)
    assert add((1, 2), (3,)) == (1, 2, 3)
    assert add([1], [2]) == [1, 2]
    assert len(add([0] * 4000, [0] * 96)) == 4096
    with pytest.raises(ValueError, match="a list of more than 4096 entries"):
        add([0] * 4000, [0] * 97)
    with pytest.raises(ValueError, match="mul"):
        multiply([0], 3)


def test_attributes() -> None:
    """Also of the pairs that functions such as `torch.max` return."""
    pair = torch.max(X, dim=1)
    found = {name: get(pair if name in ("values", "indices") else X) for name, get in ATTRIBUTES.items()}
    assert (found["shape"], found["dtype"], found["ndim"]) == ((2, 3), torch.float32, 2)
    assert torch.equal(found["T"], X.T)
    assert torch.equal(found["mT"], X.mT)
    assert torch.equal(found["values"], pair.values)
    assert torch.equal(found["indices"], pair.indices)


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (nn.Linear(3, 2, bias=False), {"in_features": 3, "out_features": 2, "bias": False}),
        (nn.LeakyReLU(0.2), {"negative_slope": 0.2, "inplace": False}),
        (nn.Hardtanh(-2, 2), {"min_val": -2, "max_val": 2, "inplace": False}),
        (nn.GRU(3, 2, bidirectional=True), {"num_layers": 1, "bias": True, "bidirectional": True}),
        (nn.RNN(3, 2, nonlinearity="relu"), {"nonlinearity": "relu"}),
        (nn.LSTM(3, 4, proj_size=2), {"proj_size": 2}),
        (nn.MultiheadAttention(4, 2, bias=False, kdim=3), {"num_heads": 2, "bias": False, "kdim": 3, "vdim": 4}),
        (
            nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", norm_first=True, bias=False),
            {"d_model": 4, "nhead": 2, "dim_feedforward": 8, "activation": "gelu", "norm_first": True, "bias": False},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_of_layers(layer: nn.Module, arguments: dict[str, Any]) -> None:
    """As they were passed; a layer built from them has the same shapes, and the audit accepts every name."""
    found = layer_arguments(layer)
    assert arguments.items() <= found.items()
    assert set(found) <= set(layer_parameters(type(layer)))
    again = type(layer)(**found)
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == {
        name: tensor.shape for name, tensor in layer.state_dict().items()
    }


def test_no_layer_keeps_arguments_of_its_device_or_its_own_tensors() -> None:
    for layer in LAYERS.values():
        assert not {"device", "dtype", "self", "_weight", "args", "kwargs"} & set(layer_parameters(layer))
