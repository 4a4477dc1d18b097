"""Transformers that were fitted on more columns than the features: taken for these, if the others do not matter."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from torch import nn

from scoreline import BundleError, Regression, Scorer, save_bundle

RNG = np.random.default_rng(1)
WIDE = pd.DataFrame(
    RNG.normal([1e6, 5, -40, 0.1, 7], [1e5, 3, 9, 0.01, 1], size=(60, 5)), columns=["id", "b", "target", "a", "other"]
)
FEATURES = ["a", "b"]
COLUMN_WISE: dict[str, Any] = {
    "standard": StandardScaler(),
    "without mean": StandardScaler(with_mean=False),
    "without std": StandardScaler(with_std=False),
    "minmax": MinMaxScaler((-1, 3), clip=True),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "pipeline": make_pipeline(SimpleImputer(strategy="median"), "passthrough", StandardScaler()),
    "in a frame": StandardScaler().set_output(transform="pandas"),
}


def scored(folder: Path, scaler: Any, features: list[str], sample: pd.DataFrame) -> tuple[np.ndarray, nn.Module]:
    torch.manual_seed(0)
    model = nn.Linear(len(features), 1).eval()
    save_bundle(folder / "b", model, features=features, task=Regression(), scaler=scaler, sample=sample)
    return Scorer.load(folder / "b", device="cpu").score_frame(sample)["prediction"].to_numpy(), model


def expected(model: nn.Module, fitted: Any, columns: list[str]) -> np.ndarray:
    """By the original transformer, applied to the whole frame."""
    whole = np.asarray(fitted.transform(WIDE), dtype=np.float32)[:, [list(WIDE).index(name) for name in columns]]
    with torch.no_grad():
        return model(torch.tensor(whole))[:, 0].numpy()


@pytest.mark.parametrize("name", COLUMN_WISE)
@pytest.mark.parametrize("in_list", [False, True])
def test_columns_that_do_not_matter(name: str, in_list: bool, tmp_path: Path) -> None:
    """The sample need not have them either; scores equal the original's transform of the whole frame."""
    fitted = COLUMN_WISE[name].fit(WIDE)
    scaler = [(fitted, FEATURES)] if in_list else fitted
    got, model = scored(tmp_path, scaler, FEATURES, WIDE[["b", "a"]])
    # as ever, a Pipeline determines the order of its columns, and a scaler keeps that of the features
    order = ["b", "a"] if name == "pipeline" else FEATURES
    np.testing.assert_allclose(got, expected(model, fitted, order), atol=1e-5)


def test_the_users_object_is_not_changed(tmp_path: Path) -> None:
    """It can still transform the whole frame."""
    fitted = make_pipeline(SimpleImputer(), StandardScaler()).fit(WIDE)
    before = fitted.transform(WIDE)
    scored(tmp_path, fitted, FEATURES, WIDE[FEATURES])
    np.testing.assert_array_equal(fitted.transform(WIDE), before)
    assert fitted[0].n_features_in_ == 5


def with_indicator() -> Any:
    frame = WIDE.copy()
    frame.loc[0, "id"] = np.nan
    return SimpleImputer(add_indicator=True).fit(frame)


DEPENDENT: dict[str, Any] = {
    "norm": lambda: Normalizer().fit(WIDE),
    "products": lambda: PolynomialFeatures(2).fit(WIDE),
    "projection": lambda: PCA(2).fit(WIDE),
    "union": lambda: make_union(StandardScaler(), MinMaxScaler()).fit(WIDE),
    "indicator": with_indicator,
    "quantiles": lambda: QuantileTransformer(n_quantiles=10).fit(WIDE),
    "pipeline": lambda: make_pipeline(StandardScaler(), PolynomialFeatures(2)).fit(WIDE),
    "used": lambda: ColumnTransformer([("n", StandardScaler(), ["a", "b", "id"])]).fit(WIDE),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_columns_that_may_matter(name: str, tmp_path: Path) -> None:
    """One error, with the column and what to do."""
    with pytest.raises(BundleError) as caught:
        scored(tmp_path, DEPENDENT[name](), FEATURES, WIDE[FEATURES])
    message = str(caught.value)
    assert "was fitted on column 'id', which is not among the features" in message
    assert message.endswith("add it to the features, or fit again on the features alone")
    assert "\n" not in message


def test_a_scaler_without_names(tmp_path: Path) -> None:
    """Which of its columns are the features is not known."""
    with pytest.raises(BundleError, match="was fitted on 5 columns, but there are 2 features"):
        scored(tmp_path, StandardScaler().fit(WIDE.to_numpy()), FEATURES, WIDE[FEATURES])


def test_no_common_column(tmp_path: Path) -> None:
    """A scaler of other columns is an error."""
    with pytest.raises(BundleError, match="which is not among the features"):
        scored(tmp_path, StandardScaler().fit(WIDE[["id", "other"]]), FEATURES, WIDE[FEATURES])


def test_a_feature_that_the_scaler_does_not_have(tmp_path: Path) -> None:
    """Then the other columns may be a feature by another name."""
    with pytest.raises(BundleError, match="was fitted on column 'id', which is not among the features"):
        scored(tmp_path, MinMaxScaler().fit(WIDE[["id", "b"]]), FEATURES, WIDE[FEATURES])
