"""Models of trees as the converters of scikit-learn, XGBoost and LightGBM write them: scored without naming an output,
and compared with the library's own predictions. Each test is skipped if its library is not installed.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scoreline import Binary, Multiclass, Regression, Scorer, save_bundle


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The converters and their libraries warn about each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rows(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    loaded = getattr(datasets, f"load_{name}")(as_frame=True)
    return loaded.data.astype(np.float32), loaded.target.to_numpy()


def scored(folder: Path, model: Any, frame: pd.DataFrame, task: Any) -> pd.DataFrame:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    save_bundle(folder / "b", folder / "m.onnx", features=list(frame), task=task, sample=frame)
    return Scorer.load(folder / "b", device="cpu").score_frame(frame)


def probabilities_of(got: pd.DataFrame, labels: list[Any]) -> np.ndarray:
    return got[[f"probability_{label}" for label in labels]].to_numpy()


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["forest", "pipeline"])
def test_classifiers_of_scikit_learn(kind: str, dtype: Any, zipmap: bool, tmp_path: Path) -> None:
    """Three classes of text, the labels in another order if they are keys."""
    skl2onnx = pytest.importorskip("skl2onnx")
    frame, target = rows("iris")
    words = np.array(["setosa", "versicolor", "virginica"])[target]
    model = RandomForestClassifier(20, random_state=0) if kind == "forest" else LogisticRegression()
    fitted = (model if kind == "forest" else make_pipeline(StandardScaler(), model)).fit(frame.to_numpy(), words)
    final = fitted if kind == "forest" else fitted[-1]
    converted = skl2onnx.to_onnx(fitted, frame.to_numpy(dtype=dtype)[:1], options={id(final): {"zipmap": zipmap}})
    labels = ["virginica", "setosa", "versicolor"] if zipmap else ["setosa", "versicolor", "virginica"]
    got = scored(tmp_path, converted, frame, Multiclass(labels))
    expected = fitted.predict_proba(frame.to_numpy())
    np.testing.assert_allclose(probabilities_of(got, ["setosa", "versicolor", "virginica"]), expected, atol=2e-6)
    assert (got["prediction"] == fitted.predict(frame.to_numpy())).mean() > 0.99  # ties of equal probabilities


def test_a_regression_of_scikit_learn(tmp_path: Path) -> None:
    """One output of floats."""
    skl2onnx = pytest.importorskip("skl2onnx")
    frame, target = rows("diabetes")
    fitted = GradientBoostingRegressor(random_state=0).fit(frame.to_numpy(), target)
    got = scored(tmp_path, skl2onnx.to_onnx(fitted, frame.to_numpy()[:1]), frame, Regression())
    np.testing.assert_allclose(got["prediction"], fitted.predict(frame.to_numpy()), rtol=1e-4)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("data", ["iris", "breast_cancer"])
def test_classifiers_of_boosted_trees(data: str, library: str, zipmap: bool, tmp_path: Path) -> None:
    """Three classes and two; XGBoost's converter writes no ZipMap."""
    boosted, onnxmltools = pytest.importorskip(library), pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    frame, target = rows(data)
    kinds = [("input", FloatTensorType([None, frame.shape[1]]))]
    if library == "xgboost":
        fitted = boosted.XGBClassifier(n_estimators=20).fit(frame.to_numpy(), target)
        converted = onnxmltools.convert_xgboost(fitted, initial_types=kinds)
    else:
        fitted = boosted.LGBMClassifier(n_estimators=20, verbose=-1).fit(frame.to_numpy(), target)
        converted = onnxmltools.convert_lightgbm(fitted, initial_types=kinds, zipmap=zipmap)
    expected = fitted.predict_proba(frame.to_numpy())
    if data == "iris":
        got = probabilities_of(scored(tmp_path, converted, frame, Multiclass(["a", "b", "c"])), ["a", "b", "c"])
    else:
        binary = scored(tmp_path, converted, frame, Binary([0, 1]))
        got = np.column_stack([1 - binary["probability"], binary["probability"]])
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_regressions_of_boosted_trees(library: str, tmp_path: Path) -> None:
    """One output of floats."""
    boosted, onnxmltools = pytest.importorskip(library), pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    frame, target = rows("diabetes")
    kinds = [("input", FloatTensorType([None, frame.shape[1]]))]
    if library == "xgboost":
        fitted = boosted.XGBRegressor(n_estimators=20).fit(frame.to_numpy(), target)
        converted = onnxmltools.convert_xgboost(fitted, initial_types=kinds)
    else:
        fitted = boosted.LGBMRegressor(n_estimators=20, verbose=-1).fit(frame.to_numpy(), target)
        converted = onnxmltools.convert_lightgbm(fitted, initial_types=kinds)
    got = scored(tmp_path, converted, frame, Regression())
    np.testing.assert_allclose(got["prediction"], fitted.predict(frame.to_numpy()), rtol=1e-4)
