"""Models that need row-major tables get them everywhere; a block that fails as a whole but passes in pieces is
reported."""

import json
import sys
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from torch import Tensor, nn

from conftest import Result
from scoreline import Regression, Scorer, save_bundle

Command = Callable[..., Result]
NAMES = list("abcd")
X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 4)), columns=NAMES).astype("float32")


class Views(nn.Module):
    """Pairs of features, by a view that a transposed tensor does not support."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.view(-1, 2)).view(-1, 2).sum(dim=1)


class Complex(nn.Module):
    """Pairs of features as complex numbers: another error, in a format that is code."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.view_as_complex(x.view(-1, 2, 2)).abs())


class NeedsContiguous(nn.Module):
    """Raises its own error for tensors that are not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_contiguous():
            raise RuntimeError("rows one behind the other, please")
        return self.layer(x)


def make_needs_contiguous() -> NeedsContiguous:
    """The factory that an import path names."""
    return NeedsContiguous()


class AtMost64Rows(nn.Module):
    """Raises for more than 64 rows."""

    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) > 64:
            raise RuntimeError(f"64 rows at most, not {x.size(0)}")
        return x.sum(dim=1)


def seeded(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def saved(model: nn.Module, folder: Path, golden: int = 50) -> list[object]:
    """Save the model in a format that supports it. Returns the options that name the bundle."""
    given: object = model
    if isinstance(model, NeedsContiguous):
        sys.modules["scoreline_test_views"] = sys.modules[__name__]
        given = ("scoreline_test_views:make_needs_contiguous", model.state_dict())
    elif not isinstance(model, Views):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, but still in use
            torch.jit.script(model).save(str(folder / "m.pt"))
        given = folder / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_bundle(folder / "b", given, features=NAMES, task=Regression(), sample=X.head(golden))
    X.to_parquet(folder / "in.parquet", index=False)
    words: list[object] = ["--bundle", folder / "b", "--input", folder / "in.parquet"]
    return words if isinstance(model, Views) else [*words, "--trust", open_bundle(folder / "b").digest]


def expected(model: nn.Module) -> np.ndarray:
    """The predictions of plain torch, from a row-major tensor."""
    with torch.no_grad():
        return model(torch.tensor(X.to_numpy()).contiguous()).reshape(-1).numpy()


def cases() -> list[Any]:
    """Every model with every number of golden rows and every option. In the short tests, half of them: every two of the
    three are found together."""
    kinds, golden = (Views, Complex, NeedsContiguous), (1, 50)
    options: list[list[object]] = [[], ["--dedupe"], ["--batch-size", 7], ["--batch-size", 1]]
    return [
        pytest.param(kinds[at], golden[few], options[number], marks=pytest.mark.long if (at + few + number) % 2 else ())
        for at, few, number in product(range(3), range(2), range(4))
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "golden", "options"), cases())
def test_models_that_view_run_whole_blocks(
    kind: type[nn.Module], golden: int, options: list[object], tmp_path: Path, scoreline: Command
) -> None:
    """With any number of golden rows."""
    model = seeded(kind)
    result = scoreline("score", *saved(model, tmp_path, golden), "--output", tmp_path / "o", *options)
    assert result.code == 0, result.err
    assert not [event for event in result.events if "retried" in event["event"]]
    got = pq.read_table(tmp_path / "o" / "in.parquet")["prediction"].to_numpy()
    np.testing.assert_allclose(got, expected(model), rtol=1e-5, atol=1e-6)


def test_hidden_layers_explanations_and_bench_of_a_model_that_views(tmp_path: Path, scoreline: Command) -> None:
    """They also run it on row-major tables."""
    model = seeded(Views)
    words = saved(model, tmp_path)
    result = scoreline(
        "score", *words, "--output", tmp_path / "o", "--hidden", "sum_1", "--explain", "integrated-gradients"
    )
    assert result.code == 0, result.err
    names = {event["event"] for event in result.events}
    assert not names & {"block_retried", "blocks_retried", "explanation_retried", "rows_not_explained"}
    table = pq.read_table(tmp_path / "o" / "in.parquet")
    np.testing.assert_allclose(
        table["hidden_sum_1"].combine_chunks().flatten().to_numpy(), expected(model), rtol=1e-5, atol=1e-6
    )
    # of a linear model: weight × (value − baseline), the lower median of each golden feature
    weight = model.layer.weight.detach().numpy()[0]
    for index, name in enumerate(NAMES):
        middle = np.sort(X[name].head(50).to_numpy())[24]
        wanted = weight[index % 2] * (X[name].to_numpy() - middle)
        np.testing.assert_allclose(table[f"attribution_{name}"].to_numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert scoreline("bench", *words, "--rounds", 1).code == 0
    assert scoreline("check", *words).code == 0


def test_a_block_that_passes_in_pieces_is_reported_once(tmp_path: Path, scoreline: Command) -> None:
    """With the error of the model, the rows, and the total number of such blocks."""
    words = saved(seeded(AtMost64Rows), tmp_path)
    result = scoreline("score", *words, "--output", tmp_path / "o", "--batch-size", 100, "--split-rows", 200)
    assert result.code == 0, result.err
    event_fields = result.event("block_retried")
    assert (event_fields["level"], event_fields["partition"], event_fields["first_row"], event_fields["last_row"]) == (
        "warning",
        "in.parquet",
        0,
        99,
    )
    assert "64 rows at most, not 100" in event_fields["reason"]
    counted = result.event("blocks_retried")
    assert (counted["blocks"], counted["rows"]) == (3, 300)
    got = pq.read_table(tmp_path / "o", partitioning=None)["prediction"].to_numpy()
    np.testing.assert_allclose(got, X.sum(axis=1), rtol=1e-5, atol=1e-6)
    found = json.loads(scoreline("check", *words, "--json").out)
    assert "64 rows at most" in str(found["rows"]["retried"])


def test_python_users_are_warned(tmp_path: Path) -> None:
    """Once per call."""
    words = saved(seeded(AtMost64Rows), tmp_path)
    scorer = Scorer.load(tmp_path / "b", trust=[str(words[-1])], batch_rows=100)
    with pytest.warns(RuntimeWarning, match=r"the table: rows 0 to 99: .*64 rows at most") as caught:
        scored = scorer.score_table(pa.Table.from_pandas(X))
    assert len([one for one in caught if one.category is RuntimeWarning]) == 1
    np.testing.assert_allclose(scored["prediction"].to_numpy(), X.sum(axis=1), rtol=1e-5, atol=1e-6)
