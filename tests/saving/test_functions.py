"""FunctionTransformer with functions of numpy that have arguments, compared with its own `transform`."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from scoreline.pipeline.saving.fitted import transform
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from saving_steps import compiled

NAMES = ["a", "b", "c"]
FUNCTIONS: dict[str, tuple[Any, dict[str, Any] | None]] = {
    "clip": (np.clip, {"a_min": -1, "a_max": 2.5}),
    "clip from below": (np.clip, {"a_min": 0.1, "a_max": None}),
    "clip by new names": (np.clip, {"min": np.float32(-3), "max": np.inf}),
    "round": (np.round, {"decimals": 2}),
    "round to thousands": (np.around, {"decimals": -3}),
    "round to integers": (np.round, None),
    "nan_to_num": (np.nan_to_num, None),
    "nan_to_num with numbers": (np.nan_to_num, {"copy": True, "nan": -7, "posinf": 1e6, "neginf": -1e6}),
}
tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 10), st.just(3)),
    elements=st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.005, 0.5, 2.5, 500.0, 1500.0, np.nan])),
)


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=30)
@given(X=tables)
def test_equal_to_scikit_learn(name: str, X: np.ndarray) -> None:
    """With missing values and one row, for frames and arrays."""
    function, arguments = FUNCTIONS[name]
    for given_as in (pd.DataFrame(X.copy(), columns=NAMES), X.copy()):
        fitted = FunctionTransformer(function, kw_args=arguments).fit(given_as)
        expected = transform(fitted, pd.DataFrame(X.copy(), columns=NAMES))
        steps, outputs = compiled(fitted, NAMES)
        made = run_steps(steps, dict(zip(NAMES, X.T.copy(), strict=True))).columns
        np.testing.assert_array_equal(np.column_stack([made[output] for output in outputs]), expected)


def test_bounds_of_each_column() -> None:
    """Arrays of one number for each column, for a transformer that was fitted on an array."""
    X = np.array([[-9.0, 0.5, 9.0], [0.2, -5.0, 7.0]])
    arguments = {"a_min": [-1, 0, -np.inf], "a_max": np.array([1.0, 1.0, 8.0])}
    fitted = FunctionTransformer(np.clip, kw_args=arguments).fit(X)
    steps, outputs = compiled(fitted, NAMES)
    made = run_steps(steps, dict(zip(NAMES, X.T, strict=True))).columns
    np.testing.assert_array_equal(np.column_stack([made[output] for output in outputs]), fitted.transform(X))


def test_infinities_of_an_earlier_function_are_replaced() -> None:
    X = np.array([[0.0, 1.0, np.nan]] * 2)
    replace = FunctionTransformer(np.nan_to_num, kw_args={"neginf": -50.0})
    fitted = make_pipeline(FunctionTransformer(np.log), replace)
    with np.errstate(divide="ignore"):
        expected = fitted.fit_transform(X)
    steps, outputs = compiled(fitted, NAMES)
    made = run_steps(steps, dict(zip(NAMES, X.T, strict=True))).columns
    np.testing.assert_array_equal(np.column_stack([made[output] for output in outputs]), expected)
    assert kept_when_missing(NAMES, steps, outputs) == set(NAMES)


def test_nulls_are_rejected_by_functions_that_keep_them() -> None:
    fitted = make_pipeline(FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), StandardScaler())
    steps, outputs = compiled(fitted.fit(np.eye(3)), NAMES)
    assert kept_when_missing(NAMES, steps, outputs) == set()


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (np.clip, {"a_min": 0, "where": True}, "'clip' with argument 'where' cannot be saved; use only a_min, a_max,"),
        (np.log1p, {"where": True}, "'log1p' with argument 'where' cannot be saved; call it without arguments"),
        (np.clip, {"a_min": 0, "min": 0}, "has the arguments 'a_min' and 'min'; use one of them"),
        (np.clip, {"a_min": 2, "a_max": 1}, "has the lower bound 2 above the upper bound 1, .* swap them"),
        (np.clip, {"a_min": np.nan}, "has min=nan; use a number"),
        (np.clip, {"a_min": [0, 1]}, r"has min=\[0, 1\]; use a number, or one for each of 3 columns"),
        (np.clip, {"a_min": "low"}, "has min='low'; use a number"),
        (np.round, {"decimals": 1.5}, "has decimals=1.5; use a whole number"),
        (np.nan_to_num, {"copy": False}, "has copy=False, which changes its input; leave it out"),
        (np.interp, {"xp": [0, 1], "fp": [0, 1]}, "'interp' cannot be saved; use one of numpy's abs, .*nan_to_num$"),
    ],
)
def test_what_is_refused(function: Any, arguments: dict[str, Any], message: str) -> None:
    """With the function and the argument."""
    with pytest.raises(BundleError, match=message):
        compiled(FunctionTransformer(function, kw_args=arguments).fit(np.eye(3)), NAMES)
