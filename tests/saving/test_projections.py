"""PCA and TruncatedSVD as steps, compared with their own `transform` in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import run_steps
from scoreline.pipeline.saving.fitted import transform
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from saving_steps import compiled

PROJECTIONS: dict[str, Callable[[int], Any]] = {
    "pca": lambda _width: PCA(),
    "pca of a few": lambda width: PCA(min(4, width // 2), svd_solver="full"),
    "whitened": lambda _width: PCA(whiten=True),
    "incremental": lambda _width: IncrementalPCA(1, whiten=True),
    "svd": lambda width: TruncatedSVD(min(3, width - 1), algorithm="arpack"),
    "in a pipeline": lambda _width: make_pipeline(SimpleImputer(), StandardScaler(), PCA(1), MinMaxScaler()),
    "of some columns": lambda width: ColumnTransformer(
        [("pca", PCA(1, whiten=True), [width - 1, 0]), ("svd", TruncatedSVD(1), slice(0, 2))], remainder="passthrough"
    ),
}  # fmt: skip


def frames(seed: int, rows: int, width: int, constant: bool) -> tuple[np.ndarray, np.ndarray]:
    """Data to fit on and new data: columns of different means and spreads, some of them constant."""
    random = np.random.default_rng(seed)
    mean, spread = random.normal(scale=10, size=width), 10 ** random.uniform(-2, 3, size=width)
    if constant:
        spread[random.integers(width)] = 0.0
    return tuple(random.normal(size=(count, width)) * spread + mean for count in (rows, random.integers(1, 40)))


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about few samples
@pytest.mark.parametrize("name", PROJECTIONS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(8, 40),
    width=st.sampled_from([2, 3, 8, 60]),
    constant=st.booleans(),
)
def test_equal_to_scikit_learn(name: str, seed: int, rows: int, width: int, constant: bool) -> None:
    """Narrow and wide frames, constant columns, one row."""
    fitted_on, X = frames(seed, rows, width, constant)
    names = [f"c{n}" for n in range(width)]
    fitted = PROJECTIONS[name](width).fit(pd.DataFrame(fitted_on, columns=names))
    expected = transform(fitted, pd.DataFrame(X, columns=names))
    try:
        steps, outputs = compiled(fitted, names)
    except BundleError as error:
        assume("with whiten=True cannot be saved" not in str(error))
        raise
    made = run_steps(steps, dict(zip(names, X.T, strict=True))).columns
    got = np.column_stack([made[output] for output in outputs])
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12 * largest_term(fitted, X))


def largest_term(fitted: Any, X: np.ndarray) -> float:
    """The largest number that scikit-learn adds up. It subtracts the mean after the product, so its own rounding errors
    are of this size, also where a sum is small."""
    inner = [one for _, one, *_ in getattr(fitted, "transformers_", [("", fitted)])]
    whitened = [np.sqrt(one.explained_variance_.min()) for one in inner if getattr(one, "whiten", False)]
    return float(1 + np.abs(X).max() / min([1.0, *whitened]))


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about a variance of 0
def test_whitening_of_constant_columns_is_refused() -> None:
    """scikit-learn divides rounding errors by almost 0 there."""
    X = np.random.default_rng(0).normal(size=(30, 3)) * [1.0, 2.0, 0.0] + 5
    with pytest.raises(BundleError, match=r"PCA with whiten=True .* component 2 .* n_components=2 or fewer$"):
        compiled(PCA(whiten=True).fit(X), ["a", "b", "c"])
    steps, _ = compiled(PCA(2, whiten=True).fit(X), ["a", "b", "c"])
    assert [step.kind for step in steps] == ["linear"]
    with pytest.raises(BundleError, match="was fitted on constant columns; leave them out"):
        compiled(PCA(whiten=True).fit(np.ones((5, 2))), ["a", "b"])


@pytest.mark.parametrize("fitted", [PCA(), TruncatedSVD()])
def test_not_fitted(fitted: Any) -> None:
    with pytest.raises(BundleError, match="is not fitted; call fit before saving"):
        compiled(fitted, ["a", "b"])
