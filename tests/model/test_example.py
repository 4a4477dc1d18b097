"""Shapes of the results of a graph, and which of their sizes follow the input."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from torch import Tensor, nn

from scoreline import Multiclass, Scorer, TokenSequence, save_bundle


class Turned(nn.Module):
    """Rows are the second dimension of an LSTM's input; three constants have as many rows as an example."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.constant, self.end = nn.LSTM(1, 8), nn.Linear(2, 2), nn.Linear(8, 2)
        self.register_buffer("three", torch.ones(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.steps(x.t().unsqueeze(-1))
        return self.end(hidden[-1]) + self.constant(self.three).sum(0) + x.reshape(-1).sum() * 0.0


class Averaged(nn.Module):
    """The mean over the steps of each list."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.end = nn.Embedding(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        words = self.words(x)
        return self.end(words.flatten(0, 1).unflatten(0, words.shape[:2]).mean(1))


def test_only_sizes_that_follow_the_rows_are_rows(tmp_path: Path) -> None:
    rows = {name: np.arange(7.0) for name in "abcd"}
    save_bundle(tmp_path / "b", Turned().eval(), features=list("abcd"), task=Multiclass(["n", "y"]), sample=rows)
    shapes = {each.name: each.sizes for each in Scorer.load(tmp_path / "b").shapes()}
    assert (shapes["t"], shapes["unsqueeze"]) == ((4, "rows"), (4, "rows", 1))
    assert (shapes["constant"], shapes["end"], shapes["reshape"]) == ((3, 2), ("rows", 2), ("rows × 4",))
    (member,) = open_bundle(tmp_path / "b").manifest.members
    hidden = {layer.name: layer.shape for layer in member.layers}
    assert "constant" not in hidden, "it has no value for each row"
    assert hidden["end"] == [2]


def test_sizes_that_follow_the_steps(tmp_path: Path) -> None:
    sample = pa.table({"x": [[1, 2, 3], [4, 0], [2]] * 3})
    inputs = TokenSequence("x", longest=9)
    save_bundle(tmp_path / "b", Averaged().eval(), inputs=inputs, task=Multiclass(["n", "y"]), sample=sample)
    shapes = {each.name: each.sizes for each in Scorer.load(tmp_path / "b").shapes()}
    assert (shapes["words"], shapes["flatten"]) == (("rows", "steps", 4), ("rows × steps", 4))
    assert shapes["end"] == ("rows", 2)
