"""The list of ATen operators: what is on it, what is not, and that no call of them ends the process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scoreline.pipeline.graph.operator_bounds import most_numbers_of_operator
from scoreline.pipeline.graph.operators import NAMES, argument_types, operators, sets_storage, short_name

SEEDS = [1]
DROPPING_OUT = ("scaled_dot_product_attention", "gru", "lstm", "rnn_relu", "rnn_tanh")


def test_names_mean_the_operators_of_that_name() -> None:
    """A graph that names `aten.add.Tensor` runs `torch.ops.aten.add.Tensor`; every name on the list has an overload."""
    for name, operator in operators().items():
        _, packet, overload = name.split(".")
        assert operator is getattr(getattr(torch.ops.aten, packet), overload), name
    assert {name.split(".")[1] for name in operators()} == set(NAMES)


def test_operators_are_functional() -> None:
    """None changes an argument, writes to a given tensor, or takes a random generator, by torch's own schemas."""
    for name, operator in operators().items():
        schema = str(operator._schema)
        assert "!" not in schema, name  # torch's mark of an argument that is written to
        assert "Generator" not in schema, name
        if torch.Tag.nondeterministic_seeded in operator.tags:  # their dropout is an argument, and 0 in eval mode
            assert short_name(name) in DROPPING_OUT, name


@pytest.mark.parametrize(
    "name",
    [
        *("aten.add_.Tensor", "aten.add.out", "aten.relu_.default", "aten.rand.default", "aten.dropout.default"),
        *("aten.empty.memory_format", "aten.as_strided.default", "aten.nonzero.default", "aten.item.default"),
        *("aten.masked_select.default", "aten.from_file.default", "aten.set_.source_Storage", "aten.to.device"),
        *("aten.repeat_interleave.Tensor", "aten.to.prim_dtype", "aten.bernoulli.default", "aten.resize_.default"),
        *("aten.native_group_norm.default", "prims.add.default", "quantized.linear.default", "add", "aten.add", ""),
    ],
)
def test_operators_that_are_not_on_the_list(name: str) -> None:
    """In place, random, uninitialised memory, sizes by values, files, other devices, other libraries."""
    assert name not in operators()


def test_results_that_depend_on_values_have_no_shape_without_them() -> None:
    """By torch's own tags, these are only `index` with a mask and `one_hot` without a number of classes, and both fail
    before they run."""
    tagged = {
        name for name, operator in operators().items()
        if {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(operator.tags)
    }  # fmt: skip
    assert {short_name(name) for name in tagged} == {"index", "one_hot"}
    mask, indices = torch.tensor([True, False]), torch.tensor([0, 1])
    for name, args in (("aten.index.Tensor", (torch.ones(2), [mask])), ("aten.one_hot.default", (indices, -1))):
        with pytest.raises((NotImplementedError, RuntimeError)):
            most_numbers_of_operator(operators()[name], short_name(name), args, {})


def test_short_names() -> None:
    """Of operators the part in the middle, of functions the last."""
    assert [short_name(name) for name in ("aten.add.Tensor", "torch.add", "operator.add", "add")] == ["add"] * 4


def test_arguments_have_the_types_of_the_schema() -> None:
    """By position and by name; more arguments or other names are refused."""
    found = argument_types("aten._to_copy.default", ["x"], {"dtype": "d", "device": "v"})
    assert found == [
        ("self", "Tensor", "x"), ("dtype", "Optional[ScalarType]", "d"), ("device", "Optional[Device]", "v"),
    ]  # fmt: skip
    assert [name for name, *_ in found if sets_storage(name)] == ["device"]
    with pytest.raises(ValueError, match=r"aten\.abs\.default takes 1 arguments, not 2"):
        argument_types("aten.abs.default", [1, 2], {})
    with pytest.raises(ValueError, match="has no argument 'out'"):
        argument_types("aten.abs.default", [1], {"out": 2})


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_no_call_ends_the_process(seed: int) -> None:
    """Any arguments of the right types, in a process of its own with limited memory: a result within the bound that was
    computed before it, or an exception. A segmentation fault, an abort or a killed process is none."""
    fuzz(seed, seconds=4)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 18))
def test_no_call_of_many_ends_the_process(seed: int) -> None:
    """The same for two minutes each."""
    fuzz(seed, seconds=120)


def fuzz(seed: int, *, seconds: int) -> None:
    """Run `operator_calls.py` in a process of its own."""
    script = Path(__file__).parents[1] / "operator_calls.py"
    done = subprocess.run(
        [sys.executable, str(script), str(seed), str(seconds)], capture_output=True, text=True, timeout=seconds + 120
    )
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-1500:])
    calls, returned = map(int, done.stdout.split())
    assert calls > 5 * seconds  # several times as many on a machine that does nothing else
    assert returned > seconds
