"""Transformers and vocabularies bound to features, and targets to their scalers, compared with scikit-learn."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import run_steps
from scoreline.pipeline.saving.binding import Binding, bind, bind_target, compare_precisions
from scoreline.pipeline.tasks.regression import rescaled
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)


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


def test_another_order_than_that_of_the_scaler(caplog: pytest.LogCaptureFixture) -> None:
    """Of all features is noted, since the model was probably trained with the scaler's. The steps are the same."""
    frame = pd.DataFrame({"a": [1.0, 2, 9], "b": [10.0, 20, 60], "c": [7.0, 7, 8]})
    same = bind(StandardScaler().fit(frame), ["a", "b", "c"], text=[], vocabularies={})
    bind(StandardScaler().fit(frame), ["a", "c"], text=[], vocabularies={})
    bind(StandardScaler().fit(frame[["b", "a"]]), ["a", "b", "c"], text=[], vocabularies={})
    bind(StandardScaler().fit(frame.to_numpy()), ["c", "b", "a"], text=[], vocabularies={})
    assert caplog.messages == []
    other = bind(StandardScaler().fit(frame), ["a", "c", "b"], text=[], vocabularies={})
    (line,) = caplog.messages
    assert line.startswith(
        "the features are in another order than the columns that StandardScaler was fitted on ('c' where it has 'b')"
    )
    np.testing.assert_array_equal(other.reference(frame), same.reference(frame)[:, [0, 2, 1]])


@pytest.mark.parametrize(
    ("transformer", "fitted", "listed", "features", "says"),
    [
        (make_pipeline(SimpleImputer(), StandardScaler()), "abc", None, "ca", "'c' where it has 'a'"),
        (make_pipeline("passthrough", MinMaxScaler()), "ac", None, "ca", "'c' where it has 'a'"),
        (PowerTransformer(), "abc", None, "bac", "'b' where it has 'a'"),
        (SimpleImputer(), "ac", ["a", "c"], "abc", "'b' where it has 'c'"),
        (SimpleImputer(), "ca", ["c", "a"], "abc", "'a' where it has 'c'"),
        (SimpleImputer(), "bc", ["b", "c"], "abc", None),
        (SimpleImputer(), "abc", None, "abc", None),
        (ColumnTransformer([("n", MinMaxScaler(), ["b", "a"])]), "ab", None, "ab", None),
        (PowerTransformer(), "", None, "cba", None),
    ],
)
def test_the_order_of_a_pipeline(
    caplog: pytest.LogCaptureFixture,
    transformer: Any,
    fitted: str,
    listed: list[str] | None,
    features: str,
    says: str | None,
) -> None:
    """It determines that of its columns; another one than that of the features is noted."""
    frame = pd.DataFrame({"a": [1.0, 2, 9], "b": [10.0, 20, 60], "c": [7.0, 7, 8]})
    transformer.fit(frame[list(fitted)] if fitted else frame.to_numpy())
    bind(transformer if listed is None else [(transformer, listed)], list(features), text=[], vocabularies={})
    if says is None:
        assert caplog.messages == []
    else:
        (line,) = caplog.messages
        assert says in line
        assert line.startswith("the model gets the columns of ")
        assert "in the order of its fit, which is not that of the features" in line


@pytest.mark.parametrize(
    ("scaler", "message"),
    [
        (StandardScaler(), "not fitted"),
        (StandardScaler().fit([[1.0], [2.0]]), "fitted on 1 column, but there are 2 features"),
        (StandardScaler().fit(pd.DataFrame({"a": [1.0], "z": [2.0]})), "column 'z', which is not"),
        ([StandardScaler()], "a list of"),
        ("standard", "str cannot be saved"),
        (FunctionTransformer(np.sin).fit([[1.0, 2.0]]), "FunctionTransformer of 'sin' cannot be saved"),
        (FunctionTransformer(lambda x: x).fit([[1.0, 2.0]]), "'<lambda>' cannot be saved"),
        (SimpleImputer(missing_values=-1).fit([[1.0, 2.0]]), "missing_values -1"),
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
    from sklearn.decomposition import FactorAnalysis

    pipeline = make_pipeline(StandardScaler(), FactorAnalysis(1)).fit(np.eye(2))
    with pytest.raises(BundleError, match=r"FactorAnalysis cannot be saved; supported are Standard.*ColumnTransformer"):
        bind(pipeline, ["a", "b"], text=[], vocabularies={})


FRAME = pd.DataFrame({"a": [1.0, 2.0, 9.0], "word": ["no", "yes", "no"], "b": [10.0, 20.0, 60.0]})


def prepared(binding: Binding, frame: pd.DataFrame) -> np.ndarray:
    """The columns that the steps produce."""
    columns: dict[str, Any] = {name: frame[name].to_numpy() for name in frame}
    columns |= {name: pa.array(frame[name]) for name in frame if frame[name].dtype.kind not in "fi"}
    found = run_steps(binding.steps, columns)
    return np.column_stack([found.columns[name] for name in binding.columns])


def test_words_become_tokens() -> None:
    """By their index in the vocabulary, at the position of the feature; the scaler takes the other features."""
    scaler = StandardScaler().fit(FRAME[["a", "b"]])
    binding = bind(scaler, ["a", "word", "b"], text=["word"], vocabularies={"word": ["x", "yes", "no"]})
    scaled = scaler.transform(FRAME[["a", "b"]])
    wanted = np.column_stack([scaled[:, 0], [2.0, 1.0, 2.0], scaled[:, 1]])
    np.testing.assert_array_equal(prepared(binding, FRAME), wanted)
    np.testing.assert_array_equal(binding.reference(FRAME), wanted)
    with pytest.raises(
        BundleError, match=r"^the sample's column 'word' contains 'maybe', which is not in its vocabulary$"
    ):
        binding.reference(FRAME.assign(word=["yes", "maybe", "no"]))


def test_no_scaler() -> None:
    """The features are the columns, unchanged."""
    binding = bind(None, ["b", "a"], text=[], vocabularies={})
    assert (binding.steps, binding.columns) == ((), ("b", "a"))
    np.testing.assert_array_equal(binding.reference(FRAME), FRAME[["b", "a"]])


def test_a_transformer_of_all_features_determines_the_order() -> None:
    """As the columns of its own output."""
    columns = ColumnTransformer([("c", OrdinalEncoder(), ["word"]), ("n", MinMaxScaler(), ["b", "a"])]).fit(FRAME)
    binding = bind(columns, ["a", "word", "b"], text=["word"], vocabularies={})
    np.testing.assert_array_equal(binding.reference(FRAME), columns.transform(FRAME))
    np.testing.assert_allclose(prepared(binding, FRAME), columns.transform(FRAME), rtol=1e-15)


@pytest.mark.parametrize(
    ("vocabularies", "says"),
    [
        ({}, "feature 'word' is text, but is not encoded as numbers; list its words in the vocabularies of a Table"),
        ({"other": ["x"]}, "vocabularies names 'other', which is not among the features"),
        ({"a": ["x"]}, "feature 'a' has a vocabulary, so it must be text in the sample"),
        ({"word": "yes"}, "feature 'word' has a vocabulary, so it must be text"),
    ],
)
def test_text_that_is_not_encoded(vocabularies: dict[str, Any], says: str) -> None:
    """With what to pass instead."""
    with pytest.raises(BundleError) as raised:
        bind(None, ["a", "word"], text=["word"], vocabularies=vocabularies)
    assert str(raised.value).startswith(says)


def test_a_transformer_without_a_feature() -> None:
    """It drops what it was fitted on, which need not be features."""
    dropping = ColumnTransformer([("all", "drop", ["word"])]).fit(FRAME[["word"]])
    with pytest.raises(BundleError, match="ColumnTransformer drops every column it was fitted on"):
        bind(dropping, ["a", "b"], text=[], vocabularies={})


TARGETS = np.random.default_rng(0).lognormal(2, 1, size=(50, 2))


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        RobustScaler(),
        RobustScaler(with_centering=False),
        RobustScaler(with_scaling=False),
        MinMaxScaler((-1, 3)),
        MaxAbsScaler(),
        FunctionTransformer(np.log1p, np.expm1),
        FunctionTransformer(np.log, np.exp),
        FunctionTransformer(np.sqrt, np.square),
    ],
)
def test_the_inverse_of_a_target_scaler(scaler: Any) -> None:
    """As data it gives scikit-learn's own numbers; functions up to the last bits of NumPy and torch."""
    scaled = scaler.fit_transform(TARGETS)
    (step,), inverse = bind_target(scaler, 2)
    found = rescaled(type(step).model_validate_json(step.model_dump_json()), torch.from_numpy(scaled)).numpy()
    np.testing.assert_allclose(found, scaler.inverse_transform(scaled), rtol=1e-15)
    np.testing.assert_array_equal(inverse(scaled), scaler.inverse_transform(scaled))
    np.testing.assert_allclose(found, TARGETS, rtol=1e-12)


def test_a_number_as_the_scaler_of_a_target() -> None:
    """The target was divided by it; every target has the same factor."""
    (step,), inverse = bind_target(np.float64(4), 2)
    assert (step.kind, step.scale, step.shift) == ("maxabs", [4.0, 4.0], None)
    assert inverse(np.array([1.5])).tolist() == [6.0]
    assert bind_target(None, 2)[0] == []


@pytest.mark.parametrize(
    ("scaler", "says"),
    [
        (0, "scaler: 0 is not a scale factor; use a number above 0"),
        (-2.0, "scaler: -2.0 is not a scale factor"),
        (float("nan"), "scaler: nan is not a scale factor"),
        (float("inf"), "scaler: inf is not a scale factor"),
        (True, "scaler: bool cannot be saved for targets; use one of StandardScaler"),
        (PowerTransformer().fit(TARGETS), "scaler: PowerTransformer cannot be saved for targets"),
        (FunctionTransformer(np.sin, np.arcsin), "scaler: FunctionTransformer's inverse_func must be one of "),
        (FunctionTransformer(np.log), "scaler: FunctionTransformer's inverse_func must be one of "),
        (StandardScaler().fit(TARGETS[:, :1]), "scaler: StandardScaler was not fitted on 2 targets"),
        (MinMaxScaler(), "scaler: MinMaxScaler was not fitted on 2 targets"),
    ],
)
def test_target_scalers_that_cannot_be_saved(scaler: Any, says: str) -> None:
    """With the name of the scaler and what is supported."""
    with pytest.raises(BundleError) as raised:
        bind_target(scaler, 2)
    assert str(raised.value).startswith(says)


def test_a_single_target() -> None:
    """In the singular."""
    with pytest.raises(BundleError, match=r"was not fitted on 1 target, but on 2; one scaler serves"):
        bind_target(StandardScaler().fit(TARGETS), 1)


@pytest.mark.parametrize(("dtype", "says"), [(np.float32, True), (np.float64, False)])
def test_a_transformer_of_float32_columns(caplog: pytest.LogCaptureFixture, dtype: Any, says: bool) -> None:
    """Of the end of a capped column, a QuantileTransformer makes something else than of the same numbers as float64."""
    values = np.minimum(np.random.default_rng(0).normal(80, 20, size=(500, 2)), 100).astype(dtype)
    frame = pd.DataFrame(values, columns=["a", "b"])
    fitted = QuantileTransformer(n_quantiles=50, output_distribution="normal").fit(frame)
    pipeline = make_pipeline(SimpleImputer(), StandardScaler()).fit(frame)
    for one in (pipeline, fitted):
        caplog.clear()
        binding = bind(one, ["a", "b"], text=[], vocabularies={})
        rows = frame.astype(np.float64)
        compare_precisions(binding, rows, binding.reference(rows), ["a", "b"] if dtype == np.float32 else [])
        assert bool(caplog.messages) == (says and one is fitted)
    if says:
        row = int(np.argmax(frame["a"] == 100))
        own, wide = fitted.transform(frame)[row, 0], fitted.transform(frame.astype(np.float64))[row, 0]
        assert f"the scaler makes {own:.4g} where it makes {wide:.4g} of" in caplog.messages[0]


def test_a_transformer_that_does_not_take_float32(caplog: pytest.LogCaptureFixture) -> None:
    """It was fitted on float64, in which rows are scored: there is nothing to compare, and nothing is refused."""
    frame = pd.DataFrame({"a": np.linspace(0, 1, 30)})
    fitted = make_pipeline(QuantileTransformer(n_quantiles=5), MinMaxScaler(), OneHotEncoder(sparse_output=False)).fit(
        frame
    )
    binding = bind(fitted, ["a"], text=[], vocabularies={})
    compare_precisions(binding, frame, binding.reference(frame), ["a"])
    assert caplog.messages == []


def test_an_imputer_of_none() -> None:
    """Where None is the most frequent word, since it is not NaN; with `missing_values=None` it is imputed."""
    frame = pd.DataFrame({"word": pd.Series(["a", None, None, None], dtype=object)})
    encoder = OrdinalEncoder()
    fitted = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder).fit(frame)
    with pytest.raises(BundleError, match="fit it with missing_values=None"):
        bind(fitted, ["word"], text=["word"], vocabularies={})
    right = make_pipeline(SimpleImputer(strategy="most_frequent", missing_values=None), encoder).fit(frame)
    binding = bind(right, ["word"], text=["word"], vocabularies={})
    np.testing.assert_array_equal(prepared(binding, frame), right.transform(frame))
