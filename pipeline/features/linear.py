"""Linear maps of several columns, in float64. Independent of files.

Source: scikit-learn 1.9 `decomposition/_base.py` and `_truncated_svd.py`. The products are added feature by feature,
with elementwise operations: the last bits of a BLAS product may depend on the number of rows and threads, and a row's
result must not depend on its block.
"""

from collections.abc import Sequence

import numpy as np

from ...schemas.steps import LinearStep
from .numeric import Numbers

#: Numbers of the output that are computed at once, so that they stay in the cache.
_CHUNK = 1 << 15
_MIN_ROWS = 64


def linear(step: LinearStep, columns: Sequence[Numbers]) -> list[Numbers]:
    """(x − mean) times the transposed matrix, divided by scale. Allocates the outputs and a chunk."""
    matrix = np.array(step.matrix, dtype=np.float64)
    made = np.zeros((len(matrix), len(columns[0])))
    rows = max(_MIN_ROWS, _CHUNK // len(matrix))
    products = np.empty((len(matrix), rows))
    for start in range(0, made.shape[1], rows):
        sums = made[:, start : start + rows]
        product = products[:, : sums.shape[1]]
        for index, column in enumerate(columns):
            values = column[start : start + rows]
            centered = values if step.mean is None else values - step.mean[index]
            np.multiply(matrix[:, index, None], centered, out=product)
            sums += product
    if step.scale is not None:
        made /= np.array(step.scale)[:, None]
    return list(made)
