"""The reference of some rows, against numpy."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.monitoring.reference import ReferenceRows, make_reference
from scoreline.schemas.profile import CategoryBins, NumberBins, ReferenceColumn

numbers = st.one_of(
    st.lists(st.floats(allow_nan=True, allow_infinity=False), max_size=50),
    st.lists(st.integers(0, 3).map(float), max_size=50),
)


def number_column(values: np.ndarray, rows: int | None = None) -> ReferenceColumn:
    """The only column of a reference."""
    made = ReferenceRows(
        source="training", rows=len(values) if rows is None else rows, features={"x": values}, outputs={}
    )
    return make_reference(made).features[0]


@given(numbers)
def test_any_numbers(values: list[float]) -> None:
    """Every value is in one bin; the reference can be written as JSON and read back."""
    given_values = np.array(values, dtype=np.float64)
    column = number_column(given_values)
    assert isinstance(column.bins, NumberBins)
    known = given_values[~np.isnan(given_values)]
    assert column.nulls == len(values) - len(known)
    bins = np.searchsorted(column.bins.edges, known, side="left")
    assert column.counts == np.bincount(bins, minlength=column.bins.num_bins).tolist()
    assert ReferenceColumn.model_validate_json(column.model_dump_json()) == column
    assert len(column.bins.shown_bins()) == len(column.bins.compared_bins()) == column.bins.num_bins


def test_quantiles_and_moments() -> None:
    """Twenty bins of equal counts, ten if there are fewer than 2,000 rows; mean and deviation as in numpy."""
    values = np.random.default_rng(0).normal(5, 2, 10_000)
    column = number_column(values)
    assert isinstance(column.bins, NumberBins)
    compared = np.bincount(column.bins.compared_bins(), weights=column.counts)
    assert (len(compared), compared.min() >= 499, compared.max() <= 501) == (20, True, True)
    assert column.bins.num_compared == 20
    assert len(set(column.bins.shown_bins())) == 24
    assert [column.low, column.high, column.mean, column.std] == pytest.approx(
        [values.min(), values.max(), values.mean(), values.std()]
    )
    bins = np.searchsorted(column.bins.edges, values, side="left")
    means = [values[bins == one].mean() for one in range(column.bins.num_bins) if (bins == one).any()]
    known = [center for center, count in zip(column.bins.centers, column.counts, strict=True) if count]
    assert known == pytest.approx(means, rel=1e-4)
    small = number_column(values[:1999]).bins
    assert isinstance(small, NumberBins)
    assert small.num_compared == 10


def test_categories() -> None:
    """The most frequent first, then those that the bundle lists."""
    made = make_reference(
        ReferenceRows(
            source="golden", rows=6, features={"city": pa.array(["b", "a", "a", None, "c", "b"], pa.large_string())},
            outputs={}, known={"city": ["z", "a"]}, rejected={"city": 4},
        )
    )  # fmt: skip
    (column,) = made.features
    assert isinstance(column.bins, CategoryBins)
    assert column.bins.categories == ["a", "b", "c", "z"]
    assert (column.counts, column.nulls, column.rejected) == ([2, 2, 1, 0, 0, 0], 1, 4)
    assert column.bins.complete


def test_a_few_golden_rows_do_not_list_all_categories() -> None:
    """So another value is not unseen."""
    made = make_reference(
        ReferenceRows(source="golden", rows=3, features={"city": pa.array(["a", "a", "b"])}, outputs={})
    )
    bins = made.features[0].bins
    assert isinstance(bins, CategoryBins)
    assert (bins.categories, bins.complete) == (["a"], False)


def test_identifiers_and_sentences_are_not_kept() -> None:
    """A reference contains no rows."""
    words = [f"customer {number}" for number in range(500)] + ["none"] * 50 + ["x" * 300] * 50
    made = make_reference(ReferenceRows(source="training", rows=600, features={"note": pa.array(words)}, outputs={}))
    bins = made.features[0].bins
    assert isinstance(bins, CategoryBins)
    assert (bins.categories, bins.complete) == (["none"], False)


def test_numbers_too_large_for_their_mean() -> None:
    """Have no moments rather than infinite ones."""
    column = number_column(np.array([1.7e308, 1.7e308, -1.7e308, 1e308]))
    assert column.mean is None or math.isfinite(column.mean)
    assert column.std is None
    ReferenceColumn.model_validate_json(column.model_dump_json())
