"""Regressions in the unit of the target: quantiles, spread, bounds, flags, forecasts."""

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
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.tasks.tasks import task_of
from scoreline.schemas.heads import RegressionHead
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

from conftest import Result
from described import save_described
from scoreline import BundleError, Ensemble, Regression, Scorer, save_bundle
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


@pytest.mark.parametrize("spread", [None, "std"])
def test_flags_above_a_threshold(tmp_path: Path, scoreline: Command, spread: str | None) -> None:
    """In the unit of the target; the share is counted, also by a resumed run, and --threshold takes precedence."""
    model = nn.Sequential(net(2 if spread else 1), nn.Softplus()).eval()
    scaler = StandardScaler().fit(np.random.default_rng(1).normal(50, 9, size=(99, 1)))
    values = scaler.inverse_transform(raw(model)[:, :1])[:, 0]
    low, high = np.quantile(values, [0.5, 0.9])
    save_bundle(
        tmp_path / "b",
        model,
        features=NAMES,
        task=Regression(threshold=high, scaler=scaler, spread=spread),
        sample=X,
        expected=values if spread is None else None,
    )
    X.assign(id=np.arange(300)).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    for threshold, option in ((high, []), (high, []), (low, ["--threshold", str(low)])):
        result = scoreline(*words, "--split-rows", "100", *option)
        assert result.code == 0, result.err
        got = pd.concat(pq.read_table(f).to_pandas() for f in sorted((tmp_path / "out").glob("*.parquet")))
        stds = [] if spread is None else ["prediction_std"]
        assert list(got.columns) == ["id", "prediction", *stds, "above_threshold"]
        assert got["above_threshold"].dtype == bool
        assert got["above_threshold"].tolist() == (values > threshold).tolist()
        run = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
        assert run["rows_above_threshold"] == (values > threshold).sum()
        assert run["heads"][0]["threshold"] == threshold
        next((tmp_path / "out").glob("*.parquet")).unlink()  # this part is rescored, the counts of the others are kept
    shown = scoreline(*words, "--split-rows", "100", "--threshold", str(low), "--log-format", "text")
    assert f"{(values > low).sum()} above the threshold (50.00%)" in shown.out


def test_no_number_is_above_itself() -> None:
    """At exactly the threshold, a row is not flagged; NaN is not either."""
    head = RegressionHead(threshold=0.5)
    found = task_of(head).decode(torch.tensor([[0.5], [0.50001], [float("nan")]]), ColumnOptions())
    assert found.columns[1].to_pylist() == [False, True, False]
    assert found.finite is not None
    assert found.finite.tolist() == [True, True, False]


class Forecast(nn.Module):
    """`[rows, steps, numbers]`, or the same numbers in one row."""

    def __init__(self, steps: int, numbers: int, flat: bool) -> None:
        super().__init__()
        self.net, self.shape = net(steps * numbers), (-1, steps * numbers) if flat else (-1, steps, numbers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).reshape(*self.shape)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    ("spec", "names", "numbers"),
    [
        ({}, ["1h", "1d", "1w"], 1),
        ({"quantiles": [0.1, 0.9]}, [f"{h}_{q}" for h in ("1h", "1d", "1w") for q in ("p10", "p90")], 2),
        ({"targets": ["u", "v"]}, [f"{t}_{h}" for h in ("1h", "1d", "1w") for t in "uv"], 2),
        (
            {"targets": ["u", "v"], "quantiles": [0.1, 0.9]},
            [f"{t}_{h}_{q}" for h in ("1h", "1d", "1w") for q in ("p10", "p90") for t in "uv"],
            4,
        ),
    ],
    ids=["one number", "quantiles", "targets", "both"],
)
def test_forecasts(tmp_path: Path, spec: dict[str, Any], names: list[str], numbers: int, flat: bool) -> None:
    """One column for each step, quantile and target, in the order of the output; the scaler is that of the targets."""
    model = Forecast(3, numbers, flat).eval()
    targets = len(spec.get("targets", [""]))
    scaler = StandardScaler().fit(np.random.default_rng(1).normal([50, -3][:targets], 9, size=(99, targets)))
    save_bundle(
        tmp_path / "b",
        model,
        features=NAMES,
        task=Regression(horizons=["1h", "1d", "1w"], scaler=scaler, **spec),
        sample=X,
    )
    got = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.Table.from_pandas(X))
    assert got.column_names == [f"prediction_{name}" for name in names]
    wanted = scaler.inverse_transform(raw(model).reshape(-1, targets)).reshape(300, -1)
    np.testing.assert_allclose(np.stack([column.to_numpy() for column in got.columns], axis=1), wanted, rtol=1e-5)


def test_ensembles_of_forecasts(tmp_path: Path) -> None:
    """The means over the members."""
    models = [Forecast(2, 1, flat=False).eval(), Forecast(2, 1, flat=True).eval()]
    for parameter in models[1].parameters():
        parameter.data *= 0.5
    save_bundle(tmp_path / "b", Ensemble(models), features=NAMES, task=Regression(horizons=["a", "b"]), sample=X)
    got = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.Table.from_pandas(X))
    wanted = np.mean([raw(model).reshape(300, 2) for model in models], axis=0)
    np.testing.assert_allclose(np.stack([got["prediction_a"], got["prediction_b"]], axis=1), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "model", "says"),
    [
        ({"horizons": ["a", "b"]}, Forecast(3, 1, flat=False), r"takes \[rows, 2\] or \[rows, 2, 1\]"),
        ({"horizons": ["a", "b"]}, Forecast(1, 2, flat=False), r"2 horizons of 1 target takes \[rows, 2\] or"),
        ({}, Forecast(1, 1, flat=False), "each step of a forecast in horizons"),
        ({"horizons": ["a", "a"]}, net(2), "task: horizons: 'a' appears twice|horizon 'a' appears twice"),
        ({"horizons": ["a", "b"], "spread": "std"}, net(4), "horizons or a spread, not both"),
        ({"horizons": ["a", "b"], "threshold": 1}, net(2), "a threshold is for one prediction per row, not 2"),
        ({"targets": ["a", "b"], "threshold": 1}, net(2), "a threshold is for one prediction per row, not 2"),
        ({"threshold": float("nan")}, net(1), "task: threshold: nan is not a number"),
        ({"threshold": "high"}, net(1), "task: threshold: 'high' is not a number"),
        ({"horizons": "1h"}, net(1), "task: horizons: '1h' is not a list"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(tmp_path: Path, spec: dict[str, Any], model: nn.Module, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        save_bundle(tmp_path / "b", model.eval(), features=NAMES, task=Regression(**spec), sample=X)
