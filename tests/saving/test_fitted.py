"""Fitted scikit-learn objects as steps: transformers of many columns, their order, and refusals."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from scoreline.pipeline.saving.binding import bind
from scoreline.pipeline.saving.fitted import fitted_in_float32, transform
from scoreline.schemas.inputs import Feature, TableInput
from scoreline.schemas.steps import StandardStep
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

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


def test_scalers_keep_the_order_of_the_features() -> None:
    """With a scaler fitted on permuted names, and with several transformers; other features are unchanged."""
    frame = pd.DataFrame({"a": [1.0, 2, 9], "b": [10.0, 20, 60], "c": [7.0, 7, 8]})
    scaler = StandardScaler().fit(frame[["c", "a"]])
    one = bind(scaler, ["a", "b", "c"], text=[], vocabularies={})
    expected = scaler.transform(frame[["c", "a"]])
    np.testing.assert_array_equal(one.reference(frame), np.column_stack([expected[:, 1], frame["b"], expected[:, 0]]))
    two = bind(
        [(MinMaxScaler().fit(frame[["b"]]), ["b"]), (OneHotEncoder().fit(frame[["c"]]), ["c"])],
        ["a", "b", "c"], text=[], vocabularies={},
    )  # fmt: skip
    columns = {name: frame[name].to_numpy() for name in frame}
    for binding in (one, two):
        prepared = run_steps(binding.steps, columns)
        got = np.column_stack([prepared.columns[name] for name in binding.columns])
        np.testing.assert_array_equal(got, binding.reference(frame))
    assert len(two.columns) == 4


@pytest.mark.parametrize(
    ("scaler", "message"),
    [
        (StandardScaler(), "not fitted"),
        (StandardScaler().fit([[1.0], [2.0]]), "fitted on 1 columns, but there are 2 features"),
        (StandardScaler().fit(pd.DataFrame({"a": [1.0], "z": [2.0]})), "column 'z', which is not"),
        ([StandardScaler()], "a list of"),
        ("standard", "str cannot be saved"),
        (FunctionTransformer(np.sin).fit([[1.0, 2.0]]), "FunctionTransformer of 'sin' cannot be saved"),
        (FunctionTransformer(lambda x: x).fit([[1.0, 2.0]]), "'<lambda>' cannot be saved"),
        (SimpleImputer(missing_values=-1).fit([[1.0, 2.0]]), "missing_values=-1"),
        ([(StandardScaler().fit([[1.0], [2.0]]), ["a"])] * 2, "used by another"),
        ([(StandardScaler().fit([[1.0], [2.0]]), ["z"])], "not among the features"),
    ],
)
def test_scalers_that_cannot_be_bound_are_refused(scaler: Any, message: str) -> None:
    """With the problem, and what to do."""
    with pytest.raises(BundleError, match=message):
        bind(scaler, ["a", "b"], text=[], vocabularies={})


def test_an_unsupported_transformer_is_refused_with_a_list_of_supported_ones() -> None:
    """Inside a pipeline as well."""
    from sklearn.decomposition import PCA

    pipeline = make_pipeline(StandardScaler(), PCA(1)).fit(np.eye(2))
    with pytest.raises(BundleError, match=r"PCA cannot be saved; supported are StandardScaler.*ColumnTransformer"):
        bind(pipeline, ["a", "b"], text=[], vocabularies={})


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
