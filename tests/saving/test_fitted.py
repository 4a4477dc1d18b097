"""Every supported scikit-learn transformer, as steps, against its own `transform` on float64: the matrix."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from scoreline.pipeline.saving.binding import bind
from scoreline.pipeline.saving.fitted import Compiler, fitted_in_float32, transform
from scoreline.schemas.inputs import Feature, TableInput
from scoreline.schemas.steps import StandardStep
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
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

#: Makes a transformer; whether it takes NaN; how the data must be.
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


def compiled(fitted: Any, names: list[str], text: tuple[str, ...] = ()) -> tuple[list[Any], list[str]]:
    """The steps, through JSON as they are kept on disk, and the columns they give."""
    compiler = Compiler(names, text)
    outputs = compiler.add(fitted, names)
    return [type(step).model_validate_json(step.model_dump_json()) for step in compiler.steps], outputs


def applied(steps: list[Any], outputs: list[str], columns: dict[str, Any]) -> np.ndarray:
    """What the steps make."""
    prepared = run_steps(steps, columns)
    assert not prepared.unfit
    return np.column_stack([np.asarray(prepared.columns[name], dtype=np.float64) for name in outputs])


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about constant columns and few samples
@pytest.mark.parametrize("name", TRANSFORMERS)
@given(data=st.data())
def test_equal_to_scikit_learn(name: str, data: st.DataObject) -> None:
    """To 1e-12 relative, before the cast: constant columns, huge and tiny scales, NaN where it is allowed."""
    make, takes_nan, elements = TRANSFORMERS[name]
    fitted_on, X = data.draw(elements), data.draw(elements)
    if takes_nan:
        X = np.where(data.draw(hnp.arrays(bool, X.shape)), X, np.nan)
        fitted_on[0, 0] = np.nan
    if "indicator" in name:
        X[:, 1:] = np.where(np.isnan(X[:, 1:]), 0.5, X[:, 1:])  # only what was missing in training may be
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transformer = make().fit(fitted_on)
            expected = transform(transformer, pd.DataFrame(X, columns=NAMES))
    except (ValueError, IndexError, BundleError):
        return  # scikit-learn itself refuses: a constant column for Box-Cox, bins of no width
    try:
        steps, outputs = compiled(transformer, NAMES)
    except ValidationError as error:
        if "finite number" in str(error):  # what scikit-learn fitted is NaN or infinite itself
            return
        raise
    got = applied(steps, outputs, {column: X[:, n] for n, column in enumerate(NAMES)})
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-300 + 1e-12 * subtracted(transformer))


def subtracted(transformer: Any) -> float:
    """The largest mean, in deviations, that a power transformer takes away at its end: near it, the last bit of the
    logarithm, in which numpy and scipy differ, is left over at this size."""
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


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about unknown categories that become zeros
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", ["text", "numbers"])
@given(data=st.data())
def test_encoders_give_the_codes_they_give(name: str, kind: str, data: st.DataObject) -> None:
    """Unseen categories, missing values, infrequent ones and drops: what scikit-learn refuses is a reject."""
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
    for row in range(len(X)):
        one = pd.DataFrame(X[[row]], columns=["u", "v"])
        columns = {
            column: pa.array([None if x != x else x for x in one[column]], pa.large_string())
            if kind == "text"
            else one[column].to_numpy(dtype=np.float64)
            for column in one
        }
        prepared = run_steps(steps, columns)
        try:
            expected = encoder.transform(one)
        except ValueError:
            assert prepared.unfit
            continue
        expected = np.asarray(expected.toarray() if hasattr(expected, "toarray") else expected, dtype=np.float64)
        assert not prepared.unfit
        np.testing.assert_array_equal([[prepared.columns[name][0] for name in outputs]], expected)


FRAME = pd.DataFrame(
    {
        "age": [20.0, 30, np.nan, 50, 60, 70],
        "income": [1e3, 2e4, 3e5, 4e3, np.nan, 6e4],
        "city": ["Berlin", "Paris", np.nan, "Berlin", "Rome", "Paris"],
        "plan": ["a", "b", "a", "c", "b", "a"],
    }
)


def mixed() -> ColumnTransformer:
    """As people write it: numbers imputed and scaled, text imputed and encoded."""
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
    """An imputer makes a null a value; a category nobody saw is zeros where that was asked for."""
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
    np.testing.assert_array_equal(binding.truth(new), expected)
    assert kept_when_missing(list(FRAME), binding.steps, binding.columns) == {"age", "income", "city"}


def test_a_category_nobody_saw_is_a_reject_where_it_was_an_error() -> None:
    """Named, with its column."""
    steps, _ = compiled(OrdinalEncoder().fit(FRAME[["plan"]]), ["plan"], ("plan",))
    prepared = run_steps(steps, {"plan": pa.array(["a", "z", None], pa.large_string())})
    assert [(rows.tolist(), column, reason) for rows, column, reason in prepared.unfit] == [
        ([1], "plan", "is a category that was not there in training"),
        ([2], "plan", "is missing, and nothing was learned for that"),
    ]


def test_scalers_keep_the_order_of_the_features() -> None:
    """Fitted on permuted names; several over some features each; the rest as they are."""
    frame = pd.DataFrame({"a": [1.0, 2, 9], "b": [10.0, 20, 60], "c": [7.0, 7, 8]})
    scaler = StandardScaler().fit(frame[["c", "a"]])
    one = bind(scaler, ["a", "b", "c"], text=[], vocabularies={})
    expected = scaler.transform(frame[["c", "a"]])
    np.testing.assert_array_equal(one.truth(frame), np.column_stack([expected[:, 1], frame["b"], expected[:, 0]]))
    two = bind(
        [(MinMaxScaler().fit(frame[["b"]]), ["b"]), (OneHotEncoder().fit(frame[["c"]]), ["c"])],
        ["a", "b", "c"], text=[], vocabularies={},
    )  # fmt: skip
    columns = {name: frame[name].to_numpy() for name in frame}
    for binding in (one, two):
        prepared = run_steps(binding.steps, columns)
        got = np.column_stack([prepared.columns[name] for name in binding.columns])
        np.testing.assert_array_equal(got, binding.truth(frame))
    assert len(two.columns) == 4


@pytest.mark.parametrize(
    ("scaler", "says"),
    [
        (StandardScaler(), "not fitted"),
        (StandardScaler().fit([[1.0], [2.0]]), "fitted on 1 columns, and 2 features"),
        (StandardScaler().fit(pd.DataFrame({"a": [1.0], "z": [2.0]})), "column 'z', which is not"),
        ([StandardScaler()], "a list of"),
        ("standard", "str cannot be saved"),
        (FunctionTransformer(np.sin).fit([[1.0, 2.0]]), "FunctionTransformer of 'sin' cannot be saved"),
        (FunctionTransformer(lambda x: x).fit([[1.0, 2.0]]), "'<lambda>' cannot be saved"),
        (SimpleImputer(missing_values=-1).fit([[1.0, 2.0]]), "missing_values=-1"),
        ([(StandardScaler().fit([[1.0], [2.0]]), ["a"])] * 2, "taken by another"),
        ([(StandardScaler().fit([[1.0], [2.0]]), ["z"])], "not among the features"),
    ],
)
def test_what_cannot_be_bound_is_refused(scaler: Any, says: str) -> None:
    """Says what is there, and what to do."""
    with pytest.raises(BundleError, match=says):
        bind(scaler, ["a", "b"], text=[], vocabularies={})


def test_an_unsupported_step_is_named_with_what_is_supported() -> None:
    """Inside a pipeline, too."""
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
    """M7: a scale of 0, a wrong length, NaN."""
    with pytest.raises(ValueError, match=r"scale|mean"):
        StandardStep(features=["a", "b"], outputs=["a#1", "b#1"], **numbers)


def test_features_and_inputs_are_plain_records() -> None:
    """Defaults as the format says."""
    assert Feature(name="a").nulls == "reject"
    assert TableInput(name="x", columns=["a"]).dtype == "float32"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_was_fitted_in_float32_is_known(dtype: Any) -> None:
    """Inside a pipeline, too: golden rows are then held to a wider tolerance."""
    X = np.array([[1.0, 2.0], [3.0, 5.0]], dtype=dtype)
    assert fitted_in_float32(make_pipeline(StandardScaler(), MinMaxScaler()).fit(X)) == (dtype == np.float32)
    assert fitted_in_float32([(MinMaxScaler().fit(X), ["a", "b"])]) == (dtype == np.float32)
    assert not fitted_in_float32(None)
