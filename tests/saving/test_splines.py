"""SplineTransformer as steps, compared with its own `transform`."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import kept_when_missing, origins, run_steps
from scoreline.pipeline.saving.fitted import transform
from scoreline.schemas.inputs import Feature
from scoreline.schemas.steps import SplineStep
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from saving_steps import compiled

EXTRAPOLATIONS = ["error", "constant", "linear", "continue", "periodic"]


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about constant columns
@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 5])
@settings(max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 30),
    width=st.sampled_from([1, 3, 20]),
    options=st.fixed_dictionaries(
        {
            "knots": st.sampled_from(["uniform", "quantile"]),
            "include_bias": st.booleans(),
            "sparse_output": st.just(False),
        }
    ),
    num_knots=st.integers(2, 8),
    column=st.sampled_from(["continuous", "constant", "repeated"]),
    nulls=st.booleans(),
)
def test_equal_to_scikit_learn(
    extrapolation: str,
    degree: int,
    seed: int,
    rows: int,
    width: int,
    options: dict[str, Any],
    num_knots: int,
    column: str,
    nulls: bool,
) -> None:
    """Values inside, outside and on the knots, constant columns, repeated knots, one row, nulls as zeros."""
    random = np.random.default_rng(seed)
    width = 1 if extrapolation == "linear" and degree == 1 else width
    fitted_on = random.normal(50, 20, size=(25, width))
    if column == "constant":
        fitted_on[:, 0] = 7.0
    elif column == "repeated":
        fitted_on[: random.integers(2, 24), 0] = 7.0
    num_knots = max(num_knots, degree + 2) if extrapolation == "periodic" else num_knots
    if degree == 0 and not options["include_bias"]:
        num_knots = max(num_knots, 3)
    more = {"handle_missing": "zeros"} if nulls else {}
    names = [f"c{n}" for n in range(width)]
    made = SplineTransformer(num_knots, degree=degree, extrapolation=extrapolation, **options, **more)
    fitted = made.fit(pd.DataFrame(fitted_on, columns=names))
    X = new_rows(fitted, fitted_on, rows, random)
    if nulls:
        X[random.random(X.shape) < 0.2] = np.nan
    if degree == 0 and extrapolation in ("constant", "linear"):
        with pytest.raises(BundleError, match=r"with degree=0 and extrapolation='.*' cannot be saved"):
            compiled(fitted, names)
        return
    steps, outputs = compiled(fitted, names)
    prepared = run_steps(steps, dict(zip(names, X.T, strict=True)))
    got = np.column_stack([prepared.columns[output] for output in outputs])
    fits = np.setdiff1d(np.arange(rows), [row for found, *_ in prepared.unfit for row in found])
    if len(fits) < rows:
        with pytest.raises(BundleError, match="beyond the limits of the knots"):
            transform(fitted, pd.DataFrame(X, columns=names))
    if len(fits):
        expected = transform(fitted, pd.DataFrame(X[fits], columns=names))
        np.testing.assert_allclose(got[fits], expected, rtol=1e-10, atol=1e-10 * max(1.0, np.abs(expected).max()))


def new_rows(fitted: SplineTransformer, fitted_on: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """Rows inside, outside and exactly on the knots."""
    X = random.choice(fitted_on.ravel(), size=(rows, fitted_on.shape[1]))
    X += random.choice([0.0, 1.0, -30.0, 60.0], size=X.shape) * random.random(X.shape)
    for at, splines in enumerate(fitted.bsplines_):
        exact = random.random(rows) < 0.3
        X[exact, at] = random.choice(splines.t, size=int(exact.sum()))
    return X


def test_own_knots_and_a_pipeline() -> None:
    """Unequal distances, behind and before other steps."""
    X = np.random.default_rng(3).normal(size=(40, 2))
    knots = np.array([[-1.0, -2.0], [0.0, -0.5], [0.1, 0.5], [3.0, 0.6]])
    fitted = make_pipeline(StandardScaler(), SplineTransformer(knots=knots), StandardScaler()).fit(X)
    steps, outputs = compiled(fitted, ["a", "b"])
    made = run_steps(steps, {"a": X[:, 0], "b": X[:, 1]}).columns
    got = np.column_stack([made[output] for output in outputs])
    np.testing.assert_allclose(got, fitted.transform(X), rtol=1e-10, atol=1e-10)


def test_rows_outside_of_the_knots_are_rejected() -> None:
    """With the column and the reason, where scikit-learn raises."""
    X = np.array([[0.0, 0.0], [1.0, 2.0]])
    fitted = SplineTransformer(3, extrapolation="error").fit(X)
    steps, _ = compiled(fitted, ["a", "b"])
    prepared = run_steps(steps, {"a": np.array([0.5, -0.1, 1.0]), "b": np.array([0.5, 1.0, 2.5])})
    assert [(rows.tolist(), name, reason) for rows, name, reason in prepared.unfit] == [
        ([1], "a", "is outside of the spline's knots"),
        ([2], "b", "is outside of the spline's knots"),
    ]


def test_nulls_and_sources() -> None:
    """Nulls are kept where they are zeros; scikit-learn raises on any other. An output belongs to its feature."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    kept, outputs = compiled(SplineTransformer(handle_missing="zeros").fit(X), ["a", "b"])
    assert kept_when_missing(["a", "b"], kept, outputs) == {"a", "b"}
    steps, outputs = compiled(SplineTransformer().fit(X), ["a", "b"])
    assert kept_when_missing(["a", "b", "c"], steps, outputs[:1]) == {"c"}
    sources = origins([Feature(name="a"), Feature(name="b")], steps)
    assert [sources[name] for name in outputs] == ["a"] * 7 + ["b"] * 7


def test_columns_that_scikit_learn_treats_differently_are_refused() -> None:
    X = np.random.default_rng(0).normal(size=(20, 2))
    fitted = SplineTransformer(degree=1, extrapolation="linear").fit(X)
    with pytest.raises(BundleError, match="with degree=1 and extrapolation='linear' cannot be saved for several col"):
        compiled(fitted, ["a", "b"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"knots": [[0.0, 1.0, 2.0, 3.0]] * 2}, "knots must be 1 lists of the same length"),
        ({"knots": [[0.0, 1.0]]}, "2 knots are too few for degree 1"),
        ({"knots": [[0.0, 1.0, 3.0, 2.0]]}, "ascending"),
        ({"outputs": ["x"]}, "1 outputs, but 1 features of 2 each"),
        ({"degree": 0, "knots": [[0.0, 1.0, 2.0]]}, "needs a degree of at least 1"),
        ({"degree": 33}, "less than or equal to 32"),
    ],
)
def test_inconsistent_steps_are_refused(changes: dict[str, Any], message: str) -> None:
    given = {"features": ["a"], "outputs": ["x", "y"], "degree": 1, "knots": [[0.0, 1.0, 2.0, 3.0]]}
    with pytest.raises(ValidationError, match=message):
        SplineStep.model_validate(given | {"extrapolation": "constant"} | changes)
