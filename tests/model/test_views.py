"""Models that need the rows of a table one behind the other in memory get them so, whichever way they are run; a block
that fails as a whole and passes in pieces is told of."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

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
    """Pairs of features, by a view that no transposed tensor has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.view(-1, 2)).view(-1, 2).sum(dim=1)


class Complex(nn.Module):
    """Pairs of features as complex numbers: another error, of a format that is code."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.view_as_complex(x.view(-1, 2, 2)).abs())


class Insists(nn.Module):
    """Says so itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_contiguous():
            raise RuntimeError("rows one behind the other, please")
        return self.layer(x)


def make_insists() -> Insists:
    """What an import path names."""
    return Insists()


class Several(nn.Module):
    """Takes 64 rows at most."""

    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) > 64:
            raise RuntimeError(f"64 rows at most, not {x.size(0)}")
        return x.sum(dim=1)


def seeded(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def saved(model: nn.Module, folder: Path, golden: int = 50) -> list[object]:
    """A bundle in the format that holds the model, and the words that name it."""
    given: object = model
    if isinstance(model, Insists):
        sys.modules["scoreline_test_views"] = sys.modules[__name__]
        given = ("scoreline_test_views:make_insists", model.state_dict())
    elif not isinstance(model, Views):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and still what people have
            torch.jit.script(model).save(str(folder / "m.pt"))
        given = folder / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_bundle(folder / "b", given, features=NAMES, task=Regression(), sample=X.head(golden))
    X.to_parquet(folder / "in.parquet", index=False)
    words: list[object] = ["--bundle", folder / "b", "--input", folder / "in.parquet"]
    return words if isinstance(model, Views) else [*words, "--trust", open_bundle(folder / "b").digest]


def expected(model: nn.Module) -> np.ndarray:
    """By bare torch, of a tensor as most people make it."""
    with torch.no_grad():
        return model(torch.tensor(X.to_numpy()).contiguous()).reshape(-1).numpy()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("options", [[], ["--dedupe"], ["--batch-size", 7], ["--batch-size", 1]], ids=str)
@pytest.mark.parametrize("golden", [1, 50])
@pytest.mark.parametrize("kind", [Views, Complex, Insists])
def test_models_that_view_run_whole_blocks(
    kind: type[nn.Module], golden: int, options: list[object], tmp_path: Path, scoreline: Command
) -> None:
    """However few golden rows there are to see it by."""
    model = seeded(kind)
    result = scoreline("score", *saved(model, tmp_path, golden), "--output", tmp_path / "o", *options)
    assert result.code == 0, result.err
    assert not [event for event in result.events if "retried" in event["event"]]
    got = pq.read_table(tmp_path / "o" / "in.parquet")["prediction"].to_numpy()
    np.testing.assert_allclose(got, expected(model), rtol=1e-5, atol=1e-6)


def test_hidden_layers_explanations_and_bench_of_a_model_that_views(tmp_path: Path, scoreline: Command) -> None:
    """The same model, looked into."""
    model = seeded(Views)
    words = saved(model, tmp_path)
    result = scoreline(
        "score", *words, "--output", tmp_path / "o", "--hidden", "sum_1", "--explain", "integrated-gradients"
    )
    assert result.code == 0, result.err
    said = {event["event"] for event in result.events}
    assert not said & {"block_retried", "blocks_retried", "explanation_retried", "rows_not_explained"}
    table = pq.read_table(tmp_path / "o" / "in.parquet")
    np.testing.assert_allclose(
        table["hidden_sum_1"].combine_chunks().flatten().to_numpy(), expected(model), rtol=1e-5, atol=1e-6
    )
    # of a linear model: weight × (value − baseline), the lower median of each golden feature
    weight = model.layer.weight.detach().numpy()[0]
    for place, name in enumerate(NAMES):
        middle = np.sort(X[name].head(50).to_numpy())[24]
        wanted = weight[place % 2] * (X[name].to_numpy() - middle)
        np.testing.assert_allclose(table[f"attribution_{name}"].to_numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert scoreline("bench", *words, "--rounds", 1).code == 0
    assert scoreline("check", *words).code == 0


def test_a_block_that_passes_in_pieces_is_told_of_once(tmp_path: Path, scoreline: Command) -> None:
    """With what the model said, where, and how often in all."""
    words = saved(seeded(Several), tmp_path)
    result = scoreline("score", *words, "--output", tmp_path / "o", "--batch-size", 100, "--split-rows", 200)
    assert result.code == 0, result.err
    told = result.event("block_retried")
    assert (told["level"], told["partition"], told["first_row"], told["last_row"]) == ("warning", "in.parquet", 0, 99)
    assert "64 rows at most, not 100" in told["reason"]
    counted = result.event("blocks_retried")
    assert (counted["blocks"], counted["rows"]) == (3, 300)
    got = pq.read_table(tmp_path / "o", partitioning=None)["prediction"].to_numpy()
    np.testing.assert_allclose(got, X.sum(axis=1), rtol=1e-5, atol=1e-6)
    found = json.loads(scoreline("check", *words, "--json").out)
    assert "64 rows at most" in str(found["rows"]["retried"])


def test_those_who_have_no_log_are_warned(tmp_path: Path) -> None:
    """Once for each call."""
    words = saved(seeded(Several), tmp_path)
    scorer = Scorer.load(tmp_path / "b", trust=[str(words[-1])], batch_rows=100)
    with pytest.warns(RuntimeWarning, match=r"the table: rows 0 to 99: .*64 rows at most") as caught:
        scored = scorer.score_table(pa.Table.from_pandas(X))
    assert len([one for one in caught if one.category is RuntimeWarning]) == 1
    np.testing.assert_allclose(scored["prediction"].to_numpy(), X.sum(axis=1), rtol=1e-5, atol=1e-6)
