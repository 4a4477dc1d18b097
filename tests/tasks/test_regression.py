"""Regressions in the unit of the target: quantiles, spread, bounds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

from conftest import Result
from described import save_described
from scoreline import BundleError, Regression, Scorer, save_bundle
from task_models import NAMES, X, net, raw

Command = Callable[..., Result]


def test_regression_of_quantiles(scored: Callable[..., pd.DataFrame]) -> None:
    """In the unit of the target, by scikit-learn's inverse."""
    model = net(3)
    scaler = StandardScaler().fit(np.random.default_rng(1).normal(50, 9, size=(99, 1)))
    got = scored(model, task="regression", quantiles=[0.1, 0.5, 0.975], target_scaler=scaler)
    assert list(got.columns) == ["id", "prediction_p10", "prediction_p50", "prediction_p97_5"]
    outputs = raw(model)
    for index, name in enumerate(got.columns[1:]):
        np.testing.assert_allclose(got[name], scaler.inverse_transform(outputs[:, [index]])[:, 0], rtol=1e-5)


class TwoOutputs(nn.Module):
    """Means and log-variances of two targets, as a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.log_variance(x)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()])
def test_regression_with_its_spread(scored: Callable[..., pd.DataFrame], scaler: Any) -> None:
    """Mean and standard deviation of two targets, for a model that returns a pair; checked with random samples."""
    torch.manual_seed(0)
    model = TwoOutputs().eval()
    scaler.fit(np.random.default_rng(1).normal([50, -3], [9, 2], size=(99, 2)))
    got = scored(
        model, task="regression", labels=["u", "v"], output=[0, 1], spread="log_variance", target_scaler=scaler
    )
    assert list(got.columns) == ["id", "prediction_u", "prediction_v", "prediction_std_u", "prediction_std_v"]
    with torch.no_grad():
        mean, log_variance = (out.double().numpy() for out in model(torch.from_numpy(X.to_numpy(np.float32).copy())))
    np.testing.assert_allclose(got[["prediction_u", "prediction_v"]], scaler.inverse_transform(mean), rtol=1e-5)
    draws = np.random.default_rng(2).normal(size=(20_000, 1, 2)) * np.exp(log_variance[:5] / 2) + mean[:5]
    drawn = scaler.inverse_transform(draws.reshape(-1, 2)).reshape(-1, 5, 2).std(axis=0)
    np.testing.assert_allclose(got[["prediction_std_u", "prediction_std_v"]].head(5), drawn, rtol=0.03)


def test_a_scale_factor(scored: Callable[..., pd.DataFrame]) -> None:
    """A number instead of a scaler: the target was divided by it."""
    model = net(1)
    got = scored(model, task="regression", target_scaler=1000.0)
    np.testing.assert_allclose(got["prediction"], raw(model)[:, 0] * 1000, rtol=1e-5)


@pytest.mark.parametrize("action", ["count", "reject"])
def test_bounds_of_a_regression(tmp_path: Path, scoreline: Command, action: str) -> None:
    """Rows out of bounds are counted, also by a resumed run, or rejected, depending on the bundle."""
    model = net(1)
    values = raw(model)[:, 0]
    low, high = np.quantile(values, [0.1, 0.8])
    outside = (values < low) | (values > high)
    save_bundle(
        tmp_path / "b",
        model,
        features=NAMES,
        task=Regression(bounds=(low, high), out_of_bounds=action),
        sample=X[~outside],
    )
    X.assign(id=np.arange(300)).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    for _ in range(2):
        result = scoreline(*words, "--max-rejects", "50%", "--split-rows", "100")
        assert result.code == 0, result.err
        run = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
        kept = pd.concat(pq.read_table(f).to_pandas() for f in sorted((tmp_path / "out").glob("*.parquet")))
        if action == "count":
            assert (run["rows_out_of_bounds"], run["rows_rejected"]) == (outside.sum(), 0)
            assert len(kept) == 300
        else:
            assert (run["rows_out_of_bounds"], run["rows_rejected"]) == (0, outside.sum())
            assert kept["id"].tolist() == np.flatnonzero(~outside).tolist()
        next((tmp_path / "out").glob("*.parquet")).unlink()  # this part is rescored, the counts of the others are kept


def test_a_sample_with_rows_out_of_bounds(tmp_path: Path) -> None:
    """They are not used as golden rows; bounds may be open on one side."""
    values = raw(net(1))[:, 0]
    high = float(np.quantile(values, 0.7))
    save_bundle(
        tmp_path / "b",
        net(1),
        features=NAMES,
        task=Regression(bounds=(None, high), out_of_bounds="reject"),
        sample=X,
        expected=values,
    )
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    assert scorer.manifest.golden.rows < 256
    rows, rejects = scorer.score_table(pa.Table.from_pandas(X), with_rejects=True)
    assert (rows.num_rows, rejects.num_rows) == ((values <= high).sum(), (values > high).sum())
    with pytest.raises(BundleError, match="every prediction of the sample is out of bounds"):
        save_bundle(
            tmp_path / "c",
            net(1),
            features=NAMES,
            task=Regression(bounds=(1000000.0, float("inf")), out_of_bounds="reject"),
            sample=X,
        )


def test_impossible_numbers_are_refused(tmp_path: Path) -> None:
    """A negative deviation, and a factor that would reverse quantiles."""
    for described, says in (
        ({"spread": "std"}, "variance or deviation negative"),
        ({"quantiles": [0.1, 0.9], "target_scaler": -2.0}, "use a number above 0"),
    ):
        with pytest.raises(BundleError, match=says):
            save_described(tmp_path / "b", net(2), features=NAMES, sample=X, task="regression", **described)  # type: ignore[arg-type]
    save_bundle(tmp_path / "b", net(1), features=NAMES, task=Regression(scaler=np.float32(2)), sample=X)
