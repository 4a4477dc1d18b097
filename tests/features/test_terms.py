"""Sparse columns of terms: sparse matrices of scipy as the truth."""

from typing import Any, Literal

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scoreline.pipeline.features import numeric
from scoreline.pipeline.features.terms import Terms, normalized, weighted
from scoreline.schemas.steps import NormalizeStep, WeightStep
from sklearn.preprocessing import normalize

#: Counts of terms, most of them 0.
COUNTS = arrays.arrays(
    np.float64, st.tuples(st.integers(0, 9), st.integers(1, 40)), elements=st.sampled_from([0.0] * 6 + [1.0, 2.0, 7.0])
)


def sparse(matrix: np.ndarray) -> Terms:
    """The numbers of `[rows, terms]` that are not 0."""
    rows, terms = np.nonzero(matrix)
    return Terms(rows=rows, terms=terms, values=matrix[rows, terms], num_rows=len(matrix), width=matrix.shape[1])


def dense(terms: Terms) -> np.ndarray:
    """`[rows, terms]`."""
    return scipy.sparse.csr_array(
        (terms.values, (terms.rows, terms.terms)), shape=(terms.num_rows, terms.width)
    ).toarray()


def names(width: int) -> dict[str, Any]:
    """The columns of a step."""
    return {"features": [f"a{index}" for index in range(width)], "outputs": [f"b{index}" for index in range(width)]}


@given(counts=COUNTS)
def test_columns(counts: np.ndarray) -> None:
    terms = sparse(counts)
    for index, column in enumerate(counts.T):
        np.testing.assert_array_equal(terms.column(index), column)


@given(counts=COUNTS, data=st.data())
def test_only_some_columns(counts: np.ndarray, data: st.DataObject) -> None:
    kept = data.draw(arrays.arrays(np.bool_, counts.shape[1]))
    places = np.where(kept, np.cumsum(kept) - 1, -1)
    np.testing.assert_array_equal(dense(sparse(counts).only(places, int(kept.sum()))), counts[:, kept])


@given(counts=COUNTS, seed=st.integers(0, 1000))
def test_written_in_any_order(counts: np.ndarray, seed: int) -> None:
    """Between columns that are not written, as float32."""
    rows, width = counts.shape
    places = np.random.default_rng(seed).permutation(2 * width)[:width]
    into = np.zeros((2 * width, rows), dtype=np.float32)
    sparse(counts).write(into, places)
    expected = np.zeros_like(into)
    expected[places] = counts.T
    np.testing.assert_array_equal(into, expected)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@given(counts=COUNTS, seed=st.integers(0, 1000))
def test_weights_and_norms(norm: Literal["l1", "l2", "max"], counts: np.ndarray, seed: int) -> None:
    """Bit for bit what scikit-learn makes of a sparse matrix, and what the steps make of dense columns, in a block of
    any number of rows."""
    width = counts.shape[1]
    weights = np.random.default_rng(seed).normal(size=width)
    weight = WeightStep(**names(width), weights=weights.tolist())
    step = NormalizeStep(**names(width), norm=norm)
    made = dense(normalized(step, weighted(weight, sparse(counts))))
    if len(counts):
        expected = normalize(scipy.sparse.csr_array(counts * weights), norm=norm).toarray()
        np.testing.assert_array_equal(made, expected)
    columns = numeric.weight(weight, slice(0, width), counts.T)
    np.testing.assert_array_equal(made, np.column_stack(numeric.normalize(step, list(columns))))
    for row in range(len(counts)):
        alone = normalized(step, weighted(weight, sparse(counts[row : row + 1])))
        np.testing.assert_array_equal(dense(alone)[0], made[row])


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_the_norm_of_a_single_row(norm: Literal["l1", "l2", "max"]) -> None:
    """Of many dense columns: the same bits as among other rows."""
    matrix = np.random.default_rng(0).random((5, 1000))
    step = NormalizeStep(**names(1000), norm=norm)
    whole = np.column_stack(numeric.normalize(step, list(matrix.T.copy())))
    for row in range(5):
        alone = np.column_stack(numeric.normalize(step, list(matrix[row : row + 1].T.copy())))
        np.testing.assert_array_equal(alone[0], whole[row])
