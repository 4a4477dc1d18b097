"""Every supported scikit-learn transformer as steps, compared with its own `transform` in float64."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import run_steps
from scoreline.pipeline.saving.fitted import transform
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
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
    StandardScaler,
)

from saving_steps import compiled

WIDTH = 3

NAMES = [f"c{n}" for n in range(WIDTH)]

values = st.one_of(
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.just(0.0),
    st.floats(1e9, 1e9 + 1e-2),
    st.floats(-1e-9, 1e-9, allow_subnormal=False),
    st.integers(-3, 3).map(float),
)

tables = hnp.arrays(np.float64, st.tuples(st.integers(6, 20), st.just(WIDTH)), elements=values)

positive = hnp.arrays(
    np.float64, st.tuples(st.integers(6, 20), st.just(WIDTH)), elements=st.floats(1e-3, 1e6, allow_subnormal=False)
)

#: A factory, whether the transformer accepts NaN, and the strategy for its data.
TRANSFORMERS: dict[str, tuple[Callable[[], Any], bool, Any]] = {
    "standard": (StandardScaler, True, tables),
    "standard without mean": (lambda: StandardScaler(with_mean=False), True, tables),
    "standard without std": (lambda: StandardScaler(with_std=False), True, tables),
    "minmax": (MinMaxScaler, True, tables),
    "minmax clipped": (lambda: MinMaxScaler(feature_range=(-3, 5), clip=True), True, tables),
    "maxabs": (MaxAbsScaler, True, tables),
    "robust": (RobustScaler, True, tables),
    "robust without center": (lambda: RobustScaler(with_centering=False, quantile_range=(10, 90)), True, tables),
    "robust without scale": (lambda: RobustScaler(with_scaling=False), True, tables),
    "l1": (lambda: Normalizer("l1"), False, tables),
    "l2": (Normalizer, False, tables),
    "max": (lambda: Normalizer("max"), False, tables),
    "yeo-johnson": (PowerTransformer, True, tables),
    "yeo-johnson bare": (lambda: PowerTransformer(standardize=False), True, tables),
    "box-cox": (lambda: PowerTransformer("box-cox"), True, positive),
    "quantile": (lambda: QuantileTransformer(n_quantiles=5), True, tables),
    "quantile normal": (lambda: QuantileTransformer(n_quantiles=6, output_distribution="normal"), True, tables),
    "binarizer": (lambda: Binarizer(threshold=0.5), False, tables),
    "bins onehot": (lambda: KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), False, tables),
    "bins dense": (lambda: KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"), False, tables),
    "bins ordinal": (lambda: KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), False, tables),
    "polynomial": (lambda: PolynomialFeatures(3), False, tables),
    "interactions": (lambda: PolynomialFeatures(2, interaction_only=True, include_bias=False), False, tables),
    "log1p": (lambda: FunctionTransformer(np.log1p), True, positive),
    "sqrt": (lambda: FunctionTransformer(np.sqrt), True, positive),
    "identity": (lambda: FunctionTransformer(), True, tables),
    "impute mean": (SimpleImputer, True, tables),
    "impute median, indicator": (lambda: SimpleImputer(strategy="median", add_indicator=True), True, tables),
    "impute constant": (lambda: SimpleImputer(strategy="constant", fill_value=-7.5), True, tables),
    "impute most frequent": (lambda: SimpleImputer(strategy="most_frequent"), True, tables),
    "impute, then scale": (lambda: make_pipeline(SimpleImputer(), StandardScaler()), True, tables),
    "scale, then powers": (lambda: make_pipeline(StandardScaler(), PolynomialFeatures(2)), False, tables),
    "columns two ways": (
        lambda: ColumnTransformer(
            [
                ("scaled", StandardScaler(), [2, 0]),
                ("binned", KBinsDiscretizer(2, encode="ordinal", strategy="uniform"), slice(0, 2)),
                ("gone", "drop", [1]),
            ],
            remainder="passthrough",
        ),
        False,
        tables,
    ),
}  # fmt: skip


def applied(steps: list[Any], outputs: list[str], columns: dict[str, Any]) -> np.ndarray:
    """The columns from the steps, `[rows, columns]`."""
    prepared = run_steps(steps, columns)
    assert not prepared.unfit
    return np.column_stack([np.asarray(prepared.columns[name], dtype=np.float64) for name in outputs])


def agrees(name: str, data: st.DataObject) -> None:
    """Check agreement to 1e-12 relative, before the cast: constant columns, huge and tiny scales, NaN if allowed."""
    make, takes_nan, elements = TRANSFORMERS[name]
    fitted_on, X = data.draw(elements), data.draw(elements)
    if takes_nan:
        X = np.where(data.draw(hnp.arrays(bool, X.shape)), X, np.nan)
        fitted_on[0, 0] = np.nan
    if "indicator" in name:
        # only columns with missing values in training may have them
        X[:, 1:] = np.where(np.isnan(X[:, 1:]), 0.5, X[:, 1:])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transformer = make().fit(fitted_on)
            expected = transform(transformer, pd.DataFrame(X, columns=NAMES))
    except (ValueError, IndexError, BundleError):
        return  # scikit-learn itself raises: a constant column for Box-Cox, bins of width 0
    try:
        steps, outputs = compiled(transformer, NAMES)
    except ValidationError as error:
        if "finite number" in str(error):  # scikit-learn has fitted NaN or infinity
            return
        raise
    got = applied(steps, outputs, {column: X[:, n] for n, column in enumerate(NAMES)})
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-300 + 1e-12 * subtracted(transformer))


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about constant columns and few samples
@pytest.mark.parametrize("name", TRANSFORMERS)
@settings(max_examples=10)
@given(data=st.data())
def test_equal_to_scikit_learn(name: str, data: st.DataObject) -> None:
    """Tables with constant columns, huge and tiny scales, and NaN if allowed."""
    agrees(name, data)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about constant columns and few samples
@pytest.mark.parametrize("name", TRANSFORMERS)
@settings(max_examples=200)
@given(data=st.data())
def test_equal_to_scikit_learn_at_length(name: str, data: st.DataObject) -> None:
    """The same with more tables."""
    agrees(name, data)


def subtracted(transformer: Any) -> float:
    """The largest mean, in standard deviations, that a power transformer subtracts at the end: differences in the last
    bit of the logarithm, between numpy and scipy, are magnified by it."""
    scaler = getattr(transformer, "_scaler", None)
    if scaler is None:
        return 0.0
    return float(np.nan_to_num(np.abs(scaler.mean_) / scaler.scale_).max())


words = st.sampled_from(["a", "b", "c", "d", "größe", "", "rare"])

ENCODERS = {
    "onehot": lambda: OneHotEncoder(handle_unknown="ignore"),
    "onehot dense, first dropped": lambda: OneHotEncoder(drop="first", sparse_output=False),
    "onehot, dropped if binary": lambda: OneHotEncoder(drop="if_binary", handle_unknown="ignore"),
    "onehot, infrequent": lambda: OneHotEncoder(min_frequency=3, handle_unknown="infrequent_if_exist"),
    "onehot, at most": lambda: OneHotEncoder(max_categories=2, handle_unknown="ignore"),
    "ordinal": lambda: OrdinalEncoder(),
    "ordinal, unknowns": lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "ordinal, missing": lambda: OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    ),
    "ordinal, infrequent": lambda: OrdinalEncoder(
        min_frequency=3, handle_unknown="use_encoded_value", unknown_value=9
    ),
}  # fmt: skip


def gives_the_same_codes(name: str, kind: str, data: st.DataObject) -> None:
    """Check unknown categories, missing values, infrequent ones and drops: where scikit-learn raises, rows are
    rejected."""
    element = words if kind == "text" else st.integers(-2, 4).map(float)
    rows = st.lists(st.tuples(element, element), min_size=4, max_size=24)
    fitted_on, X = np.array(data.draw(rows), dtype=object), np.array(data.draw(rows), dtype=object)
    if data.draw(st.booleans()):
        fitted_on[0, 0] = np.nan
    if data.draw(st.booleans()):
        X[0, data.draw(st.integers(0, 1))] = np.nan
    if kind == "numbers":
        fitted_on, X = fitted_on.astype(np.float64), X.astype(np.float64)
    encoder = ENCODERS[name]().fit(pd.DataFrame(fitted_on, columns=["u", "v"]))
    text = ("u", "v") if kind == "text" else ()
    steps, outputs = compiled(encoder, ["u", "v"], text)
    frame = pd.DataFrame(X, columns=["u", "v"])
    try:
        encoder.transform(frame)
    except ValueError:  # of some row, so compare row by row
        tables = [frame.iloc[[row]] for row in range(len(frame))]
    else:
        tables = [frame]
    for table in tables:
        columns = {
            column: pa.array([None if x != x else x for x in table[column]], pa.large_string())
            if kind == "text"
            else table[column].to_numpy(dtype=np.float64)
            for column in table
        }
        prepared = run_steps(steps, columns)
        try:
            expected = encoder.transform(table)
        except ValueError:
            assert prepared.unfit
            continue
        expected = np.asarray(expected.toarray() if hasattr(expected, "toarray") else expected, dtype=np.float64)
        assert not prepared.unfit
        codes = [[prepared.columns[name][row] for name in outputs] for row in range(len(table))]
        np.testing.assert_array_equal(codes, expected)


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about unknown categories that become zeros
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", ["text", "numbers"])
@settings(max_examples=10)
@given(data=st.data())
def test_encoders_equal_scikit_learn(name: str, kind: str, data: st.DataObject) -> None:
    """For text and numbers; row by row where scikit-learn raises."""
    gives_the_same_codes(name, kind, data)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about unknown categories that become zeros
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", ["text", "numbers"])
@settings(max_examples=200)
@given(data=st.data())
def test_encoders_equal_scikit_learn_at_length(name: str, kind: str, data: st.DataObject) -> None:
    """The same with more tables."""
    gives_the_same_codes(name, kind, data)
