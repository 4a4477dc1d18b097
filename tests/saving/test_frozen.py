"""A module without what surrounds it in training: wrappers, computed weights, tensors of the last pass."""

from math import ceil
from typing import Any

import pytest
import torch
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.trace import trace
from scoreline.pipeline.saving.frozen import frozen_copy, unwrapped
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel

X = torch.linspace(-1, 1, 12).reshape(4, 3)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.mark.filterwarnings("ignore")  # torch.compile imports what torch has deprecated
@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        AveragedModel,
        torch.compile,
        lambda model: torch.compile(nn.DataParallel(model)),
    ],
    ids=["DataParallel", "AveragedModel", "compiled", "several"],
)
def test_wrappers_are_removed(wrap: Any) -> None:
    """The parameters have the names of the module inside."""
    model = network()
    found = frozen_copy(wrap(model))
    assert type(found) is nn.Sequential
    assert list(found.state_dict()) == list(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(found(X), model(X))


def test_a_module_with_a_module_attribute_is_no_wrapper() -> None:
    """Only the known wrappers are."""
    model = nn.Sequential()
    model.module = nn.Linear(3, 1)
    assert unwrapped(model) is model


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "norm",
    [
        weight_norm,
        spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
    ],
)
def test_computed_weights_are_replaced_by_their_value(norm: Any) -> None:
    """The outputs stay as they are in eval mode; the model itself keeps computing them."""
    model = nn.Sequential(norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2))
    model(X).sum().backward()  # as after training: power iterations, weights with a gradient
    names = list(model.state_dict())
    found = frozen_copy(model)
    assert type(found[0]) is nn.Linear
    assert set(found.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert not found[0]._forward_pre_hooks
    with torch.no_grad():
        torch.testing.assert_close(found(X), model.eval()(X))
    assert list(model.state_dict()) == names
    model.train()(X).sum().backward()


class GhostBatchNorm1d(nn.Module):
    """Ghost batch normalization: statistics of parts of a batch, whose number depends on its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.size = nn.BatchNorm1d(3), 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.bn(part) for part in x.chunk(ceil(len(x) / self.size))])


class GhostClamped(GhostBatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.clamp(-5, 5))


class GhostSentinel(GhostBatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.where(x == -999, 0, x))


class GhostMissing(GhostBatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nan_to_num(x))


class GhostScaled(GhostBatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.001 * super().forward(x)


class GhostLast(GhostBatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(x) if x.ndim == 2 else self.bn(x.transpose(1, 2)).transpose(1, 2)


class GhostMasked(GhostBatchNorm1d):
    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(x)


class Clamped(nn.Module):
    """Something else around a BatchNorm, which may even equal it."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(x)


def test_ghost_normalization_is_its_batchnorm() -> None:
    """In eval mode, the parts do not matter, and a graph cannot have as many as there are rows."""
    model = nn.Sequential(GhostBatchNorm1d(), nn.Linear(3, 2)).train()
    model(X)
    found = frozen_copy(model)
    graph, tensors = trace(found)
    for rows in (1, 3, 4):
        with torch.no_grad():
            torch.testing.assert_close(build(graph, tensors)(X[:rows]), model.eval()(X[:rows]))
    assert list(found.state_dict()) == list(model.state_dict())
    assert isinstance(found[0], GhostBatchNorm1d)
    assert found[0].size == 2
    assert type(model[0]) is GhostBatchNorm1d


@pytest.mark.parametrize(
    "kind", [GhostClamped, GhostSentinel, GhostMissing, GhostScaled, GhostLast, GhostMasked, Clamped]
)
def test_a_module_that_is_not_its_batchnorm_stays(kind: type[nn.Module]) -> None:
    """However similar it is to ghost normalization: for large values, NaN, other shapes, other arguments."""
    assert type(frozen_copy(nn.Sequential(kind()))[0]) is kind


def test_tensors_of_a_training_pass_are_copied_as_values() -> None:
    """deepcopy alone refuses tensors that have a gradient."""
    model = network()
    model.last = model(X)
    found = frozen_copy(model)
    torch.testing.assert_close(found.last, model.last.detach())
    assert not found.training
    assert model.training
