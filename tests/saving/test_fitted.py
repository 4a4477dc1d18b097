"""Fitted scikit-learn objects as steps: transformers of many columns, their order, and refusals."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from scoreline.pipeline.saving.binding import bind
from scoreline.pipeline.saving.fitted import fitted_in_float32, transform
from scoreline.schemas.inputs import Feature, TableInput
from scoreline.schemas.steps import StandardStep
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

from saving_steps import compiled

FRAME = pd.DataFrame(
    {
        "age": [20.0, 30, np.nan, 50, 60, 70],
        "income": [1e3, 2e4, 3e5, 4e3, np.nan, 6e4],
        "city": ["Berlin", "Paris", np.nan, "Berlin", "Rome", "Paris"],
        "plan": ["a", "b", "a", "c", "b", "a"],
    }
)


def mixed() -> ColumnTransformer:
    """A typical transformer: numbers imputed and scaled, text imputed and encoded."""
    return ColumnTransformer(
        [
            (
                "numbers",
                Pipeline([("fill", SimpleImputer(strategy="median", add_indicator=True)), ("scale", StandardScaler())]),
                make_column_selector(dtype_include="number"),
            ),
            (
                "words",
                make_pipeline(
                    SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
                ),
                ["city"],
            ),
            ("plan", OrdinalEncoder(), ["plan"]),
        ]
    )


def test_a_mixed_column_transformer_with_missing_values() -> None:
    """An imputer replaces nulls; an unknown category is encoded as zeros with handle_unknown="ignore"."""
    fitted = mixed().fit(FRAME)
    binding = bind(fitted, list(FRAME), text=["city", "plan"], vocabularies={})
    new = pd.concat([FRAME, FRAME.assign(city="Oslo", age=np.nan)], ignore_index=True)
    columns: dict[str, Any] = {name: new[name].to_numpy(dtype=np.float64) for name in ("age", "income")}
    for name in ("city", "plan"):
        columns[name] = pa.array([word if isinstance(word, str) else None for word in new[name]], pa.large_string())
    prepared = run_steps(binding.steps, columns)
    assert not prepared.unfit
    expected = transform(fitted, new)
    got = np.column_stack([prepared.columns[name] for name in binding.columns])
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_array_equal(binding.reference(new), expected)
    assert kept_when_missing(list(FRAME), binding.steps, binding.columns) == {"age", "income", "city"}


def test_an_unknown_category_is_a_reject_if_the_encoder_raises() -> None:
    """With the column's name."""
    steps, _ = compiled(OrdinalEncoder().fit(FRAME[["plan"]]), ["plan"], ("plan",))
    prepared = run_steps(steps, {"plan": pa.array(["a", "z", None], pa.large_string())})
    assert [(rows.tolist(), column, reason) for rows, column, reason in prepared.unfit] == [
        ([1], "plan", "is a category that was not seen in training"),
        ([2], "plan", "is missing, and training had no missing values here"),
    ]


@pytest.mark.parametrize(
    "numbers",
    [
        {"mean": [0.0, 0.0], "scale": [1.0, 0.0]},
        {"mean": [0.0], "scale": [1.0, 1.0]},
        {"mean": [float("nan"), 0.0], "scale": [1.0, 1.0]},
        {"mean": [0.0, 0.0], "scale": [1.0, float("inf")]},
    ],
)
def test_numbers_that_cannot_scale_are_refused(numbers: dict[str, list[float]]) -> None:
    """A scale of 0, a wrong length, NaN, infinity."""
    with pytest.raises(ValueError, match=r"scale|mean"):
        StandardStep(features=["a", "b"], outputs=["a#1", "b#1"], **numbers)


def test_features_and_inputs_are_plain_records() -> None:
    """With the defaults of the format."""
    assert Feature(name="a").nulls == "reject"
    assert TableInput(name="x", columns=["a"]).dtype == "float32"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_transformers_fitted_in_float32_are_detected(dtype: Any) -> None:
    """Inside a pipeline as well; the tolerance for golden rows is wider then."""
    X = np.array([[1.0, 2.0], [3.0, 5.0]], dtype=dtype)
    assert fitted_in_float32(make_pipeline(StandardScaler(), MinMaxScaler()).fit(X)) == (dtype == np.float32)
    assert fitted_in_float32([(MinMaxScaler().fit(X), ["a", "b"])]) == (dtype == np.float32)
    assert not fitted_in_float32(None)
