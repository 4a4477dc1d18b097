"""Replaying golden rows: what is compared, and what a bundle that does not reproduce them raises."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.bundle.golden import GoldenRows, read_golden
from scoreline.pipeline.errors import BundleError, GoldenMismatchError, ModelFailedError
from scoreline.pipeline.scoring.replay import probe, raw_and_columns, replay, settle_layout
from torch import Tensor, nn

from conftest import Example
from scoreline import Binary, Multiclass, Regression, Scorer, save_bundle


@pytest.fixture
def scorer(iris: Example) -> Scorer:
    return Scorer.load(iris.bundle, device="cpu")


def golden_of(path: Path | str) -> GoldenRows:
    """The golden rows of a bundle."""
    bundle = open_bundle(path)
    manifest = bundle.manifest
    data = bundle.read(manifest.golden.file)
    return read_golden(data, [feature.name for feature in manifest.features], [head.name for head in manifest.heads])


def failing(scorer: Scorer, error: Exception) -> None:
    """Make the model raise."""

    def forward(*_: Tensor) -> Tensor:
        raise error

    scorer.members.models[0].forward = forward  # type: ignore[method-assign]


def test_raw_outputs_and_columns(scorer: Scorer, iris: Example) -> None:
    """Equal those of bare torch; no rows have the same columns."""
    batch = pa.RecordBatch.from_pandas(iris.frame[iris.features], preserve_index=False)
    raw, decoded = raw_and_columns(scorer.loaded, batch)
    np.testing.assert_allclose(np.asarray(raw["output"]), iris.raw(), atol=1e-5)
    assert decoded.columns[0].to_pylist() == [iris.labels[at] for at in iris.raw().argmax(axis=1)]
    none, empty = raw_and_columns(scorer.loaded, batch.slice(0, 0))
    assert np.asarray(none["output"]).shape == (0, 3)
    assert [column.type for column in empty.columns] == [column.type for column in decoded.columns]


def test_a_bundle_that_is_intact(scorer: Scorer, iris: Example) -> None:
    """All golden rows, their source, and a difference of rounding only."""
    report = replay(scorer.loaded, golden_of(iris.bundle))
    assert (report.rows, report.source) == (150, "model")
    assert 0 <= report.largest_difference < 1e-5


def test_another_output_is_a_mismatch(scorer: Scorer, iris: Example) -> None:
    """Of one row, beyond the tolerance."""
    golden = golden_of(iris.bundle)
    changed = np.array(golden.raw["output"])
    changed[77, 1] += 0.01
    with pytest.raises(GoldenMismatchError, match="raw output 'output'"):
        replay(scorer.loaded, replace(golden, raw={"output": changed}))
    with pytest.raises(GoldenMismatchError, match="gives different values for the golden rows"):
        probe(scorer.loaded, replace(golden, raw={"output": changed}))


def with_feature(golden: GoldenRows, name: str, values: pa.Array) -> GoldenRows:
    """Golden rows with another first column."""
    return replace(golden, features=golden.features.set_column(0, name, values))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g, _: replace(g, features=g.features.slice(0, 3)), "golden.parquet has 3 rows, not 150"),
        (lambda g, n: with_feature(g, n, pa.nulls(150, pa.float64())), "golden row 0 is rejected: sepal length"),
        (lambda g, n: with_feature(g, n, pa.array(["x"] * 150)), "the golden rows cannot be scored: golden.parquet"),
        (lambda g, _: with_feature(g, "other", pa.array([1.0] * 150)), "the golden rows cannot be scored: golden.parq"),
    ],
)
def test_damaged_golden_rows(scorer: Scorer, iris: Example, change: Any, says: str) -> None:
    """With the number, the row or the column."""
    with pytest.raises(BundleError, match=says):
        replay(scorer.loaded, change(golden_of(iris.bundle), iris.features[0]))


def test_a_model_that_raises(scorer: Scorer, iris: Example) -> None:
    """Its message is in the error, on one line; too little memory is not the model's fault."""
    golden = golden_of(iris.bundle)
    failing(scorer, RuntimeError("shapes\ndo not match"))
    with pytest.raises(ModelFailedError, match=r"^the model fails: shapes do not match$"):
        raw_and_columns(scorer.loaded, golden.features)
    with pytest.raises(BundleError, match="the golden rows cannot be scored: the model fails: shapes"):
        settle_layout(scorer.loaded, golden)
    assert not scorer.members.passes.contiguous, "the layout is restored if it does not help"
    failing(scorer, MemoryError())
    with pytest.raises(MemoryError):
        raw_and_columns(scorer.loaded, golden.features)


class Viewed(nn.Module):
    """Views its input, which must be contiguous by row."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.view(-1).view(-1, 3))


@pytest.mark.parametrize("rows", [1, 5])
def test_a_model_that_views_its_input(tmp_path: Path, rows: int) -> None:
    """Gets contiguous rows, also if there is a single golden row, which is contiguous in both layouts."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(rows, 3)), columns=list("abc"))
    torch.manual_seed(0)
    save_bundle(tmp_path / "b", Viewed().eval(), features=list("abc"), task=Regression(), sample=frame)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    passes = scorer.members.passes
    passes.contiguous = False
    assert settle_layout(scorer.loaded, golden_of(tmp_path / "b")).rows == rows
    assert passes.contiguous


def normalised(width: int, seed: int) -> nn.Module:
    """A model whose outputs are far larger than the differences between them."""
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(20)
    norm.running_mean, norm.running_var = torch.randn(20), torch.rand(20) * 0.1 + 0.05
    return nn.Sequential(norm, nn.Linear(20, width)).eval()


@pytest.mark.parametrize("width", [1, 2, 10])
def test_large_logits_round(tmp_path: Path, width: int) -> None:
    """A probability may change by more than its own tolerance; a bundle that was saved can be loaded."""
    labels = [f"c{at}" for at in range(max(2, width))]
    task = Multiclass(labels) if width > 2 else Binary(labels)
    names = [f"f{at}" for at in range(20)]
    for seed in range(12):
        sample = np.random.default_rng(seed).normal(size=(256, 20)).astype(np.float32) * 10_000
        save_bundle(tmp_path / f"{seed}", normalised(width, seed), features=names, task=task, sample=sample)
        Scorer.load(tmp_path / f"{seed}", device="cpu")


@pytest.mark.parametrize("width", [1, 2, 10])
@pytest.mark.parametrize("scale", [1, 10_000])
def test_what_is_not_rounding(tmp_path: Path, width: int, scale: int) -> None:
    """Other raw outputs, or the same decoded to other columns, are a mismatch whatever the size of the logits."""
    labels = [f"c{at}" for at in range(max(2, width))]
    task = Multiclass(labels) if width > 2 else Binary(labels)
    names = [f"f{at}" for at in range(20)]
    sample = np.random.default_rng(0).normal(size=(256, 20)).astype(np.float32) * scale
    save_bundle(tmp_path / "b", normalised(width, 0), features=names, task=task, sample=sample)
    loaded, golden = Scorer.load(tmp_path / "b", device="cpu").loaded, golden_of(tmp_path / "b")
    replay(loaded, golden)
    probability = next(name for name, values in golden.columns.items() if pa.types.is_floating(values.type))
    other = golden.columns[probability].to_numpy() * np.float32(0.999)
    with pytest.raises(GoldenMismatchError, match=probability):
        replay(loaded, replace(golden, columns={**golden.columns, probability: pa.array(other)}))
    raw = np.asarray(golden.raw["output"]).copy()
    raw[3] += np.float32(3e-4) * np.abs(raw if width == 1 else raw[3]).max()
    with pytest.raises(GoldenMismatchError, match="raw output"):
        replay(loaded, replace(golden, raw={"output": raw}))
