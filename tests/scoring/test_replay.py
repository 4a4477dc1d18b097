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
from scoreline import Regression, Scorer, save_bundle


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
