"""run.json records the seed and whether kernels were deterministic; an operation without a deterministic version is
named."""

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from torch import Tensor, nn

from conftest import Example, Result
from scoreline import Regression, save_bundle

Command = Callable[..., Result]
X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list("abc"))


def test_it_is_recorded_and_restores_the_state(iris: Example, tmp_path: Path, scoreline: Command) -> None:
    """Seed and kernels; the state of the caller's generators does not change."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "o"]
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert scoreline(*words, "--deterministic").code == 0
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    options = json.loads((tmp_path / "o" / "_scoreline" / "run.json").read_text())["options"]
    assert (options["seed"], options["deterministic"]) == (0, "on")
    assert scoreline(*words).event("nothing_to_do")  # the same values: nothing is rescored


class Puts(nn.Module):
    """Calls an operation that torch has no deterministic version of."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        return y.put_(torch.arange(x.numel()), x.reshape(-1)).sum(dim=1)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[nn.Module], list[object]]:
    """Save a model as TorchScript. Returns the arguments of the command that scores with it."""

    def make(model: nn.Module) -> list[object]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, but still in use
            torch.jit.script(model).save(str(tmp_path / "m.pt"))
            save_bundle(tmp_path / "b", tmp_path / "m.pt", features=list("abc"), task=Regression(), sample=X)
        X.to_parquet(tmp_path / "in.parquet", index=False)
        digest = open_bundle(tmp_path / "b").digest
        return ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "o",
                "--trust", digest]  # fmt: skip

    return make


def test_an_operation_without_a_deterministic_version_is_named(
    script: Callable[[nn.Module], list[object]], scoreline: Command
) -> None:
    """Before the first row, with advice."""
    words = script(Puts())
    assert scoreline(*words).code == 0
    result = scoreline(*words, "--deterministic", "--force")
    assert result.code == 2
    assert "the model calls put_, which has no deterministic version; leave --deterministic out" in result.message
    assert not torch.are_deterministic_algorithms_enabled()
