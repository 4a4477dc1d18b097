"""The prefix under which a file has the tensors of an architecture."""

from collections.abc import Mapping

import pytest
import torch
from scoreline.pipeline.saving.prefixes import Architecture
from torch import Tensor, nn


class Tied(nn.Module):
    """An embedding whose weights are also those of the output."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(5, 3), nn.Linear(3, 5)
        self.out.weight = self.table.weight


def under(prefix: str, model: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


MODEL = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
OTHER = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))


@pytest.mark.parametrize("prefix", ["", "module.", "net._orig_mod."])
def test_all_names_have_one_prefix(prefix: str) -> None:
    """Other tensors in the file do not matter."""
    found = under(prefix, MODEL) | {"loss.weight": torch.ones(2), "step": torch.tensor(3)}
    assert Architecture(MODEL).prefixes(found, complete=True) == [prefix]
    assert Architecture(MODEL).names_in(found) == 4


def test_the_right_shapes_come_alone() -> None:
    """If there are any; otherwise all complete sets, so that the message can name the shapes."""
    both = under("a.", OTHER) | under("b.", MODEL)
    assert Architecture(MODEL).prefixes(both, complete=True) == ["b."]
    assert Architecture(MODEL).prefixes(under("a.", OTHER), complete=True) == ["a."]
    assert Architecture(MODEL).prefixes(both | under("c.", MODEL), complete=True) == ["b.", "c."]


def test_a_part_of_the_names() -> None:
    """The prefix with the most of them first, then the shorter one; no complete one."""
    found = {"long.0.weight": torch.ones(3, 2), "b.0.bias": torch.ones(3), "most.2.bias": torch.ones(1)}
    found["most.2.weight"] = torch.ones(1, 3)
    assert Architecture(MODEL).prefixes(found, complete=False) == ["most.", "b.", "long."]
    assert Architecture(MODEL).prefixes(found, complete=True) == []
    assert Architecture(MODEL).names_in(found) == 2
    assert Architecture(MODEL).names_in({"x": torch.ones(1)}) == 0


def test_a_name_inside_another_is_not_a_prefix() -> None:
    """Only whole parts between dots count."""
    found = {f"x{name}": tensor for name, tensor in MODEL.state_dict().items()}
    assert Architecture(MODEL).prefixes(found, complete=True) == []


@pytest.mark.parametrize("kept", ["table.weight", "out.weight"])
def test_tied_weights_are_needed_under_one_name(kept: str) -> None:
    """And completed under each of them; tensors that are given stay as they are."""
    architecture = Architecture(Tied())
    found: Mapping[str, Tensor] = {kept: torch.ones(5, 3), "out.bias": torch.zeros(5)}
    assert architecture.prefixes(found, complete=True) == [""]
    whole = architecture.completed(found)
    assert set(whole) == {"table.weight", "out.weight", "out.bias"}
    assert whole["table.weight"] is whole["out.weight"] is found[kept]
    assert architecture.completed({"other": torch.ones(1)}).keys() == {"other"}


def test_lazy_layers_fit_any_shape() -> None:
    """Their shapes are those of the file."""
    lazy = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.Linear(3, 1))
    assert Architecture(lazy).prefixes(under("a.", MODEL), complete=True) == ["a."]
    wrong = under("a.", nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 9))) | under("b.", MODEL)
    assert Architecture(lazy).prefixes(wrong, complete=True) == ["b."]
