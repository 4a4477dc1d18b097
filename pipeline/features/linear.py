"""Linear maps of several columns, in float64. Independent of files.

Source: scikit-learn 1.9 `decomposition/_base.py` and `_truncated_svd.py`. The products are added feature by feature,
with elementwise operations: the last bits of a BLAS product may depend on the number of rows and threads, and a row's
result must not depend on its block.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...schemas.steps import LinearStep
from ..same import Same
from .numeric import Numbers
from .terms import Terms

#: Numbers of the output that are computed at once, so that they stay in the cache.
_CHUNK = 1 << 15
_MIN_ROWS = 64


def linear(step: LinearStep, columns: Sequence[Numbers]) -> list[Numbers]:
    """(x − mean) times the transposed matrix, divided by scale. Allocates the outputs and a chunk."""
    weights, outputs = _by_feature(Same(step.matrix)), len(step.matrix)
    made = np.zeros((outputs, len(columns[0])))
    rows = max(_MIN_ROWS, _CHUNK // outputs)
    products = np.empty((outputs, rows))
    for start in range(0, made.shape[1], rows):
        sums = made[:, start : start + rows]
        product = products[:, : sums.shape[1]]
        for index, column in enumerate(columns):
            values = column[start : start + rows]
            centered = values if step.mean is None else values - step.mean[index]
            np.multiply(weights[index, :, None], centered, out=product)
            sums += product
    if step.scale is not None:
        made /= np.array(step.scale)[:, None]
    return list(made)


def linear_of_terms(step: LinearStep, terms: Terms) -> list[Numbers]:
    """The same for a sparse matrix, bit for bit, where there is no mean to subtract: what is 0 adds nothing."""
    assert step.mean is None, "it would make every number differ from 0"
    weights, counts = _by_feature(Same(step.matrix)), np.bincount(terms.rows, minlength=terms.num_rows)
    first = np.cumsum(counts) - counts
    order = np.argsort(-counts, kind="stable")  # rows with the most terms first: those that have another are a slice
    first, left = first[order], counts[order]
    sums = np.zeros((terms.num_rows, len(step.matrix)))
    for number in range(int(left[0]) if len(left) else 0):
        several = int(np.searchsorted(-left, -number))  # rows with more terms than this number
        at = first[:several] + number
        sums[:several] += weights[terms.terms[at]] * terms.values[at, None]
    if step.scale is not None:
        sums /= np.array(step.scale)
    made = np.empty((len(step.matrix), terms.num_rows))
    made[:, order] = sums.T
    return list(made)


@lru_cache(maxsize=64)
def _by_feature(matrix: Same[list[list[float]]]) -> NDArray[np.float64]:
    """float64 `[features, outputs]`: the numbers of a feature side by side."""
    return np.ascontiguousarray(np.array(matrix.value, dtype=np.float64).T)
