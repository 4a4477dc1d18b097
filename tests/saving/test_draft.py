"""A model as the files of a member: a copy, the same model rebuilt from the files, and models that are refused."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.saving.draft import Draft, draft
from scoreline.schemas.members import GraphMember, ImportMember
from torch import Tensor, nn

from captured import rows_of

INPUT = torch.linspace(-1, 1, 12).reshape(4, 3)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 2))


def drafted(model: Any, number: str = "", **options: Any) -> Draft:
    return draft(model, number, inputs=["x"], examples=[rows_of("x", INPUT)], **options)


def outputs(module: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(INPUT.clone())
    return found


def test_a_module_becomes_data() -> None:
    """A graph and weights, whose model has the outputs of the original in eval mode; the original is unchanged."""
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = drafted(model)
    assert isinstance(made.member, GraphMember)
    assert list(made.files) == ["graph.json", "weights.safetensors"]
    weights = safetensors.torch.load(made.files["weights.safetensors"])
    assert sum(tensor.numel() for tensor in weights.values()) >= sum(p.numel() for p in model.parameters())
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    wanted = outputs(model.eval())
    torch.testing.assert_close(outputs(made.reference), wanted)
    torch.testing.assert_close(outputs(made.loaded.module), wanted)
    assert made.reference is not model
    assert not made.reference.training


def test_members_have_numbered_files() -> None:
    """So that several fit into one bundle."""
    assert list(drafted(network(), "-1").files) == ["graph-1.json", "weights-1.safetensors"]


def test_the_same_model_gives_the_same_bytes() -> None:
    """Regardless of the random state."""
    first = drafted(network()).files
    model = network()
    torch.manual_seed(99)
    assert drafted(model).files == first


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
def test_wrappers_are_removed(wrap: Any) -> None:
    """Of parallel training and of compilation."""
    model = network().eval()
    torch.testing.assert_close(outputs(drafted(wrap(model)).loaded.module), outputs(model))


def test_a_factory_and_its_weights() -> None:
    """The weights are copied; the factory is named and not stored."""
    weights = {"weight": torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True), "bias": torch.zeros(1)}
    made = drafted(("model_factories:linear", weights))
    assert made.member == ImportMember(factory="model_factories:linear", weights="weights.safetensors")
    assert list(made.files) == ["weights.safetensors"]
    wanted = INPUT @ torch.tensor([[1.0], [2.0], [3.0]])
    torch.testing.assert_close(outputs(made.reference), wanted)
    torch.testing.assert_close(outputs(made.loaded.module), wanted)
    assert made.reference is not made.loaded.module


def test_pruning_changes_only_the_draft() -> None:
    """Half of the weights of each Linear layer are zero, in the reference as well."""
    model = network()
    made = drafted(model, pruned=0.5)
    layer = made.reference.get_submodule("0")
    assert int((layer.weight == 0).sum()) == round(model[0].weight.numel() * 0.5)
    assert int((model[0].weight == 0).sum()) == 0
    torch.testing.assert_close(outputs(made.loaded.module), outputs(made.reference))


class Noisy(nn.Module):
    """Adds noise, in eval mode as well."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1e-9 * torch.rand(3)


def unlimited() -> nn.Module:
    """A module that keeps tensors of a training pass in a list, which cannot be copied."""
    model = nn.Linear(3, 1)
    model.last = [model(INPUT)]  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: "m.bin", r"model file 'm\.bin' has an unknown suffix; use one of \.onnx, \.pt2, \.pt, \.pth, \.ts$"),
        (lambda: Path("/nowhere/m.pt2"), r"model file '/nowhere/m\.pt2' cannot be read: No such file or directory$"),
        (lambda: {"weight": torch.zeros(1)}, r"the model is a dict, not a torch\.nn\.Module$"),
        (lambda: nn.Linear, r"the model is the class Linear, not an instance$"),
        (lambda: nn.Linear(3, 1).half(), r"the model's parameters are float16; call model\.float\(\) before"),
        (lambda: nn.Linear(3, 1).double(), r"the model's parameters are float64"),
        (unlimited, r"Linear cannot be copied: .*; if it keeps tensors of a training pass as attributes, delete"),
        (lambda: nn.LazyLinear(2), "parameter 'weight' of a lazy layer has no shape yet; run the model once on a few"),
        (Noisy, "draws random numbers in eval mode; a row would not get the same score twice$"),
        (lambda: ("model_factories:absent", {}), "model_factories:absent cannot be imported"),
    ],
)
def test_models_that_cannot_be_saved(model: Any, says: str) -> None:
    """With the reason; the random state is restored."""
    before = torch.get_rng_state()
    given = model()
    torch.set_rng_state(before)
    with pytest.raises(BundleError, match=says):
        drafted(given)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("model", ["model.onnx", ("model_factories:linear", {})])
def test_only_modules_can_be_pruned(model: Any) -> None:
    """Refused before a file is read or code is imported."""
    with pytest.raises(BundleError, match=r"^prune needs a module whose weights it can change"):
        drafted(model, pruned=0.5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("part", [False, True])
def test_torchscript_is_passed_as_a_file(part: bool) -> None:
    """A scripted module cannot be traced, nor can a model that contains one."""
    scripted = torch.jit.script(nn.Linear(3, 2))
    model = nn.Sequential(nn.ReLU(), scripted) if part else scripted
    what = "the model's part '1'" if part else "the model"
    with pytest.raises(BundleError, match=rf"^{what} is a TorchScript module, .* save the whole model with torch\.jit"):
        drafted(model)
