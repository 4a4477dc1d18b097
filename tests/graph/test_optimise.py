"""Optimised graphs give the results of plain torch, without the layers that only training needs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.scoring.block import Block
from scoreline.pipeline.scoring.line import compose
from scoreline.pipeline.scoring.replay import raw_and_columns
from torch import Tensor, nn

from described import save_described
from scoreline import Scorer
from textbook import ClassificationModel, randomized

X = np.random.default_rng(0).normal(size=(64, 6))


def saved(path: Path, model: nn.Module, **changes: Any) -> Scorer:
    """The model's bundle, loaded."""
    save_described(
        path / "b", model, features=list("abcdef"), sample=X, **{"task": "regression", "labels": ["p", "q"], **changes}
    )  # fmt: skip
    return Scorer.load(path / "b", device="cpu")


def out(scorer: Scorer) -> np.ndarray:
    return np.asarray(raw_and_columns(scorer.loaded, scorer_batch())[0]["output"])


def scorer_batch() -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array(X[:, n]) for n in range(6)], names=list("abcdef"))


parts = st.lists(st.sampled_from(["linear", "relu", "bn", "dropout", "tanh", "bn0"]), max_size=9)


@settings(max_examples=40)
@given(parts, st.integers(0, 1000))
def test_any_stack_gives_equal_results(tmp_path_factory: pytest.TempPathFactory, kinds: list[str], seed: int) -> None:
    """Linear, BatchNorm with and without weights, activations and dropout, in any order."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for kind in kinds:
        layers.append(
            {
                "linear": lambda: nn.Linear(6, 6, bias=bool(len(layers) % 2)),
                "relu": nn.ReLU,
                "tanh": nn.Tanh,
                "dropout": lambda: nn.Dropout(0.5),
                "bn": lambda: nn.BatchNorm1d(6),
                "bn0": lambda: nn.BatchNorm1d(6, affine=False),
            }[kind]()
        )
    model = randomized(nn.Sequential(*layers, nn.Linear(6, 2)))
    scorer = saved(tmp_path_factory.mktemp("stack"), model)
    with torch.no_grad():
        wanted = model.eval().double()(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(out(scorer), wanted, rtol=1e-4, atol=1e-5)
    assert scorer.loaded.dropped == kinds.count("dropout")
    assert not any(isinstance(module, nn.Dropout) for module in scorer.members.models[0].modules())


def test_a_common_stack_is_folded(tmp_path: Path) -> None:
    """Linear-ReLU-BatchNorm-Dropout: every BatchNorm is folded into the next Linear."""
    scorer = saved(
        tmp_path,
        randomized(ClassificationModel(6, [16, 8], 3)),
        task="multiclass",
        labels=["x", "y", "z"],
    )
    assert (scorer.loaded.folded, scorer.loaded.dropped) == (2, 2)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in scorer.members.models[0].modules())


class Shared(nn.Module):
    """A Linear that runs twice, once without the BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return (self.linear(self.norm(x)) + self.linear(x))[:, :2]


class TwoUsers(nn.Module):
    """The input and the output of the BatchNorm are both used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        n = self.norm(h)
        return self.last(n) + h[:, :2] + n[:, 2:4]


class Steps(nn.Module):
    """BatchNorm over the channels of a sequence, a different axis from that of the Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 4), nn.BatchNorm1d(3), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x.reshape(-1, 3, 2)))).sum(dim=1)


class NormLast(nn.Module):
    """A BatchNorm after an activation gives the output."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 2), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.relu(self.linear(x)))


class ByName(nn.Module):
    """One BatchNorm is called with its argument by name, and a tensor of the other is read directly."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.other, self.last = nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(input=x) + self.other.running_mean) + self.last(self.other(torch.tanh(x)))


@pytest.mark.parametrize(
    ("kind", "targets"),
    [(Shared, ["p", "q"]), (TwoUsers, ["p", "q"]), (NormLast, ["p", "q"]), (ByName, ["p", "q"]), (Steps, None)],
)
def test_what_cannot_be_folded_is_left_alone(tmp_path: Path, kind: type[nn.Module], targets: list[str] | None) -> None:
    """The results are those of plain torch."""
    torch.manual_seed(3)
    model = randomized(kind())
    scorer = saved(tmp_path, model, labels=targets)
    assert scorer.loaded.folded == 0
    with torch.no_grad():
        wanted = model.eval().double()(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(out(scorer).reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)


class Overwritten(nn.Module):
    """Activations in every spelling; the input, views, and results that are read again must not be overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.act = nn.LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        a = nn.functional.relu(x) + torch.relu(self.first(x))  # x is read again
        b = self.second(a)
        c = b[:, :3].relu() + b[:, 3:]  # a view
        d = self.act(self.third(torch.cat([c, x[:, 3:]], dim=1)))
        return torch.cat([self.third(a).relu(), d, b.relu()], dim=1)[:, :4]


def test_activations_overwrite_only_new_tensors(tmp_path: Path) -> None:
    """The results are those of plain torch, and the inputs are unchanged."""
    torch.manual_seed(5)
    model = randomized(Overwritten())
    scorer = saved(tmp_path, model, labels=["p", "q", "r", "s"])
    with torch.no_grad():
        wanted = model.eval().double()(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(out(scorer), wanted, rtol=1e-4, atol=1e-5)
    line = compose(scorer.loaded)
    loaded = line.load(Block(batch=scorer_batch()))
    given = loaded.need_features()
    before = {name: tensor.clone() for name, tensor in given.inputs.items()}
    line.score(loaded)
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.inputs.items())
    inplace = [m for m in scorer.members.models[0].modules() if getattr(m, "inplace", False)]
    assert sorted(type(module).__name__ for module in inplace) == ["LeakyReLU", "ReLU", "ReLU"]


def test_a_norm_with_means_far_from_zero_is_not_folded(tmp_path: Path) -> None:
    """Such means must be subtracted before the multiplication, or the precision is lost."""
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2))
    model[0].running_mean.fill_(1e4)
    model[0].running_var.fill_(1.0)
    assert saved(tmp_path, model).loaded.folded == 0
