"""Fitted transformers, narrowed to some of their columns, against scikit-learn on the whole frame."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoreline.pipeline.saving.narrowing import names_of, narrowed
from scoreline.pipeline.saving.parameters import Parameters
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

RNG = np.random.default_rng(5)
FRAME = pd.DataFrame(RNG.normal([1, -20, 300, 0.5], [1, 5, 90, 0.1], (30, 4)), columns=list("abcd"))
HOLES = FRAME.mask(RNG.random(FRAME.shape) < 0.2)
EMPTY = HOLES.assign(c=np.nan)

BY_COLUMN = [
    StandardScaler(), StandardScaler(with_mean=False), MinMaxScaler((-1, 2), clip=True), MaxAbsScaler(), RobustScaler(),
    SimpleImputer(strategy="median"), make_pipeline(SimpleImputer(), StandardScaler(), "passthrough"),
]  # fmt: skip


@pytest.mark.parametrize("transformer", BY_COLUMN, ids=lambda one: type(one).__name__)
def test_the_columns_of_a_whole_frame(transformer: Any) -> None:
    """In the order in which they were fitted, whatever the order of the names; the original is not changed."""
    data = HOLES if "Imputer" in str(transformer) else FRAME
    whole = transformer.fit_transform(data)
    found = narrowed(transformer, ["d", "b"])
    np.testing.assert_array_equal(found.transform(data[["b", "d"]]), whole[:, [1, 3]])
    np.testing.assert_array_equal(transformer.transform(data), whole)
    assert names_of(found) == ["b", "d"]


def test_numbers_of_a_file() -> None:
    """Those of the columns, under the same settings."""
    numbers = {"mean": np.arange(4.0), "scale": np.arange(4.0) + 1}
    given = Parameters(kind="standard", numbers=numbers, clip=(-1.0, 1.0), columns=tuple("abcd"))
    found = narrowed(given, ["c", "a"])
    assert (found.kind, found.clip, found.columns) == ("standard", (-1.0, 1.0), ("a", "c"))
    assert {name: values.tolist() for name, values in found.numbers.items()} == {"mean": [0, 2], "scale": [1, 3]}
    assert narrowed(Parameters(kind="standard", numbers=numbers, clip=None, columns=None), ["a"]) is None


@pytest.mark.parametrize(
    ("transformer", "data"),
    [
        (PCA(2), FRAME),
        (make_pipeline(StandardScaler(), PCA(2)), FRAME),
        (SimpleImputer(add_indicator=True), HOLES),
        (SimpleImputer(), EMPTY),
        (StandardScaler(), FRAME.to_numpy()),
    ],
    ids=["mixes columns", "a step mixes columns", "adds columns", "drops a column", "without names"],
)
def test_others_are_not_narrowed(transformer: Any, data: Any) -> None:
    """Where other columns may affect the result, or positions would change."""
    with np.errstate(all="ignore"):
        transformer.fit(data)
    assert narrowed(transformer, ["a"]) is None


def test_an_empty_column_that_is_kept() -> None:
    """Positions do not change."""
    imputer = SimpleImputer(keep_empty_features=True).fit(EMPTY)
    np.testing.assert_array_equal(
        narrowed(imputer, ["c", "d"]).transform(EMPTY[["c", "d"]]), imputer.transform(EMPTY)[:, [2, 3]]
    )


def test_names() -> None:
    """Of a Pipeline those of its first transformer; of a FeatureUnion those of any."""
    named, bare = StandardScaler().fit(FRAME), StandardScaler().fit(FRAME.to_numpy())
    assert names_of(named) == list("abcd")
    assert names_of(bare) is None
    assert names_of(Pipeline([("first", named), ("second", bare)])) == list("abcd")
    assert names_of(Pipeline([("first", bare), ("second", named)])) is None
    assert names_of(Pipeline([("word", "passthrough"), ("second", named)])) == list("abcd")
    assert names_of(FeatureUnion([("left", bare), ("none", "drop"), ("right", named)])) == list("abcd")
