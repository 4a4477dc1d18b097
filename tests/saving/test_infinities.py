"""Numbers that become infinite or NaN between two steps: scikit-learn raises on them, so the rows have no value."""

from typing import Any

import numpy as np
import pytest
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from sklearn.decomposition import PCA
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from saving_steps import compiled

SAMPLE = np.random.default_rng(0).uniform(0.5, 9, size=(100, 2))
ODD = [0.0, -0.0, -1.0, 1.0, 5e-324, 1e-200, 1e200, -1e200, 709.0, 1000.0, np.nan, 3.7]
FIRST: list[Any] = [
    *(FunctionTransformer(one) for one in (np.log, np.exp, np.square, np.reciprocal, np.log1p, np.expm1, np.negative)),
    PowerTransformer(),
    make_pipeline(PowerTransformer("box-cox"), SimpleImputer()),
    StandardScaler(),
    PolynomialFeatures(3),
]
SECOND: list[Any] = [
    "passthrough",
    FunctionTransformer(np.clip, kw_args={"a_min": None, "a_max": 50.0}),
    FunctionTransformer(np.reciprocal),
    FunctionTransformer(np.nan_to_num),
    FunctionTransformer(np.round, kw_args={"decimals": 1}),
    RobustScaler(),
]
THIRD: list[Any] = [
    "passthrough",
    MinMaxScaler(clip=True),
    MaxAbsScaler(),
    QuantileTransformer(n_quantiles=20),
    Binarizer(),
    KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    make_pipeline(SimpleImputer(), FunctionTransformer(np.reciprocal)),
    MissingIndicator(features="all"),
    SplineTransformer(extrapolation="constant"),
    SplineTransformer(degree=2, n_knots=3, handle_missing="zeros"),
    Normalizer(),
    make_pipeline(Normalizer(), SimpleImputer()),
    make_pipeline(SplineTransformer(extrapolation="linear"), SimpleImputer()),
    make_pipeline(PCA(2), SimpleImputer()),
    make_pipeline(Binarizer(), SimpleImputer()),
]


def own(fitted: Any, row: np.ndarray) -> np.ndarray | None:
    """scikit-learn's transform; None where it raises, or a result is not finite, which is rejected later."""
    try:
        made = np.asarray(fitted.transform(row), dtype=np.float64)
    except ValueError:
        return None
    return made if np.isfinite(made).all() else None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("third", range(len(THIRD)))
@pytest.mark.parametrize("first", range(len(FIRST)))
def test_equal_to_scikit_learn(first: int, third: int) -> None:
    """Values and refusals, for every combination of three steps."""
    names = ["a", "b"]
    for second in SECOND:
        fitted = make_pipeline(FIRST[first], second, THIRD[third]).fit(SAMPLE)
        steps, outputs = compiled(fitted, names)
        rows = np.array([[one, other] for one in ODD for other in (3.0, 1e200)])
        prepared = run_steps(steps, dict(zip(names, rows.T.copy(), strict=True)))
        unfit = {int(row) for found, _, _ in prepared.unfit for row in found}
        made = np.column_stack([prepared.columns[output] for output in outputs])
        for index, row in enumerate(rows):
            wanted = own(fitted, row[None, :])
            if wanted is None:
                assert index in unfit or not np.isfinite(made[index]).all(), (second, row, made[index])
            else:
                assert index not in unfit, (second, row)
                np.testing.assert_allclose(made[index], wanted[0], rtol=0, atol=1e-9 * np.abs(wanted).max())


def test_missing_values_that_are_imputed_too_late() -> None:
    """A null is rejected as such, where a step before the imputer takes none."""
    fitted = make_pipeline(PolynomialFeatures(2), SimpleImputer()).fit(SAMPLE)
    steps, outputs = compiled(fitted, ["a", "b"])
    assert kept_when_missing(["a", "b"], steps, outputs) == set()
    fitted = make_pipeline(SimpleImputer(), PolynomialFeatures(2)).fit(SAMPLE)
    steps, outputs = compiled(fitted, ["a", "b"])
    assert kept_when_missing(["a", "b"], steps, outputs) == {"a", "b"}


def test_the_row_names_the_column() -> None:
    """That of the step before, whose feature a reject then names."""
    fitted = make_pipeline(FunctionTransformer(np.log), MinMaxScaler(clip=True)).fit(SAMPLE)
    steps, _ = compiled(fitted, ["a", "b"])
    prepared = run_steps(steps, {"a": np.array([1.0, 0.0]), "b": np.array([2.0, 3.0])})
    ((rows, name, reason),) = prepared.unfit
    assert (rows.tolist(), name) == ([1], steps[0].outputs[0])
    assert reason == "is infinite between two preparation steps"
