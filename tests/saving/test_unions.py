"""FeatureUnion and MissingIndicator as steps, compared with their own `transform`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from scoreline.pipeline.saving.binding import bind
from scoreline.pipeline.saving.fitted import transform
from scoreline.pipeline.saving.scaler_files import word_columns
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, PolynomialFeatures, StandardScaler

from saving_steps import compiled
from scoreline import Regression, Scorer, save_bundle

#: A factory, and whether it accepts NaN.
UNIONS: dict[str, tuple[Callable[[], Any], bool]] = {
    "two": (lambda: make_union(StandardScaler(), MinMaxScaler()), True),
    "dropped and passed": (
        lambda: FeatureUnion([("no", "drop"), ("raw", "passthrough"), ("scaled", StandardScaler())]),
        True,
    ),
    "passed twice": (lambda: FeatureUnion([("one", "passthrough"), ("two", "passthrough")]), True),
    "weighted": (
        lambda: FeatureUnion(
            [("raw", "passthrough"), ("pca", PCA(2)), ("gone", "drop"), ("norm", Normalizer())],
            transformer_weights={"raw": -3, "pca": 0.1, "norm": 0.0},
        ),
        False,
    ),
    "weighted passthrough twice": (
        lambda: FeatureUnion([("a", "passthrough"), ("b", "passthrough")], transformer_weights={"b": 1.0}),
        True,
    ),
    "in a pipeline": (
        lambda: make_pipeline(
            "passthrough",
            FeatureUnion([("fill", SimpleImputer()), ("missing", MissingIndicator(features="all"))]),
            StandardScaler(),
        ),
        True,
    ),
    "of pipelines": (
        lambda: make_union(
            make_pipeline(SimpleImputer(), FeatureUnion([("raw", "passthrough"), ("again", "passthrough")]), PCA(1)),
            make_pipeline(SimpleImputer(strategy="median"), PolynomialFeatures(2)),
            MissingIndicator(error_on_new=False),
        ),
        True,
    ),
    "weighted columns": (
        lambda: ColumnTransformer(
            [("a", MinMaxScaler(), [2, 0]), ("b", "passthrough", [1]), ("c", StandardScaler(), [1])],
            transformer_weights={"a": -0.5, "b": 3},
        ),
        True,
    ),
    "of columns": (
        lambda: make_union(
            ColumnTransformer([("a", "passthrough", [2]), ("b", MinMaxScaler(), [0, 1]), ("c", "passthrough", [2])]),
            StandardScaler(),
        ),
        True,
    ),
}


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about constant columns
@pytest.mark.parametrize("name", UNIONS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 20), width=st.sampled_from([3, 30]), constant=st.booleans())
def test_equal_to_scikit_learn(name: str, seed: int, rows: int, width: int, constant: bool) -> None:
    """With missing values where they are accepted, constant columns, one row."""
    make, takes_nan = UNIONS[name]
    random = np.random.default_rng(seed)
    names = [f"c{n}" for n in range(width)]
    fitted_on, X = random.normal(3, 5, size=(12, width)), random.normal(3, 5, size=(rows, width))
    if constant:
        fitted_on[:, 1] = 2.5
    if takes_nan:
        X[random.random(X.shape) < 0.2] = np.nan
        fitted_on[random.random(fitted_on.shape) < 0.1] = np.nan
        fitted_on[0] = 1.0
    fitted = make().fit(pd.DataFrame(fitted_on, columns=names))
    expected = transform(fitted, pd.DataFrame(X, columns=names))
    steps, outputs = compiled(fitted, names)
    assert len(set(outputs)) == len(outputs)
    made = run_steps(steps, dict(zip(names, X.T, strict=True))).columns
    np.testing.assert_allclose(np.column_stack([made[output] for output in outputs]), expected, rtol=1e-12, atol=1e-12)


def test_columns_are_found_by_name() -> None:
    """Also where the first transformer is a word, and the features have another order."""
    frame = pd.DataFrame({"b": [1.0, 5, 9], "a": [10.0, 20, 60]})
    for union in (
        FeatureUnion([("no", "drop"), ("scaled", StandardScaler())]),
        FeatureUnion([("pipe", make_pipeline("passthrough", StandardScaler()))]),
        make_pipeline("passthrough", FeatureUnion([("raw", "passthrough")])),
    ):
        fitted = union.fit(frame)
        binding = bind(fitted, ["a", "b"], text=[], vocabularies={})
        made = run_steps(binding.steps, {name: frame[name].to_numpy() for name in frame}).columns
        got = np.column_stack([made[name] for name in binding.columns])
        np.testing.assert_allclose(got, fitted.transform(frame), rtol=1e-15)
        np.testing.assert_array_equal(binding.reference(frame), fitted.transform(frame))


def test_nulls_are_kept_where_an_indicator_and_an_imputer_take_them() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 3], "b": [1.0, 2.0, 4.0]})
    fitted = make_union(SimpleImputer(), MissingIndicator()).fit(frame[["a"]])
    steps, outputs = compiled(fitted, ["a"])
    assert kept_when_missing(["a", "b"], steps, [*outputs, "b"]) == {"a"}


def test_text() -> None:
    """An encoder and an indicator of the same column; it is recognised as text, also in files without types."""
    frame = pd.DataFrame({"city": ["Berlin", "Rome", np.nan, "Rome"]})
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    fitted = FeatureUnion([("words", filled), ("missing", MissingIndicator())], transformer_weights={"words": 0.5})
    fitted.fit(frame)
    steps, outputs = compiled(fitted, ["city"], ("city",))
    made = run_steps(steps, {"city": pa.array(["Rome", None, "Berlin"], pa.large_string())}).columns
    expected = transform(fitted, pd.DataFrame({"city": ["Rome", np.nan, "Berlin"]}))
    np.testing.assert_array_equal(np.column_stack([made[name] for name in outputs]), expected)
    encoder = make_union(OneHotEncoder()).fit(frame)
    assert word_columns(encoder, ["city"]) == {"city"}


@pytest.mark.parametrize(
    ("transformer", "text", "message"),
    [
        (make_union(StandardScaler()), (), "StandardScaler is not fitted"),
        (
            FeatureUnion([("raw", "passthrough")], transformer_weights={"raw": 2}),
            ("a",),
            "transformer_weights has a weight for 'a', which is text; encode it before",
        ),
        (
            MissingIndicator().fit(np.array([[1.0, np.nan], [2.0, 3.0]])),
            (),
            r"error_on_new=True cannot be saved.* fit it with error_on_new=False or features=\"all\"",
        ),
        (
            MissingIndicator(missing_values=-1, features="all").fit(np.array([[1.0, 2.0]])),
            (),
            "MissingIndicator with missing_values -1 cannot be saved; use NaN, None or NA",
        ),
    ],
)
def test_what_is_refused(transformer: Any, text: tuple[str, ...], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        compiled(transformer, ["a", "b"], text)


def test_a_bundle(tmp_path: Path) -> None:
    """Saved, loaded and scored: equal to the user's own objects."""
    random = np.random.default_rng(4)
    frame = pd.DataFrame(random.normal(10, 3, size=(50, 4)), columns=list("abcd"))
    union = FeatureUnion(
        [("pca", make_pipeline(StandardScaler(), PCA(2, whiten=True))), ("raw", "passthrough")],
        transformer_weights={"raw": 0.1},
    )
    scaler = make_pipeline(SimpleImputer(), union).fit(frame)
    model = torch.nn.Linear(6, 1).eval()
    save_bundle(tmp_path / "b", model, features=list("abcd"), task=Regression(), scaler=scaler, sample=frame)
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(frame)["prediction"].to_numpy()
    with torch.no_grad():
        expected = model(torch.tensor(scaler.transform(frame), dtype=torch.float32))[:, 0].numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
