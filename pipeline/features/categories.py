"""Steps on categories and missing values. Categories are compared for exact equality, in a table sorted once.
Independent of tensors and files.
"""

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.steps import Encoding, ImputeStep
from ..arrays import to_numpy
from .numeric import Numbers

#: float64 `[rows]`, or an Arrow array of strings.
Column: TypeAlias = Any
#: Rows for which a step has no value, and the reason.
Unfit = tuple[NDArray[np.int64], str]


def is_missing(values: Column) -> NDArray[np.bool_]:
    """bool `[rows]`: NaN, or null in a text column."""
    if isinstance(values, pa.Array):
        nulls: NDArray[np.bool_] = np.asarray(to_numpy(values.is_null()), dtype=np.bool_)
        return nulls
    empty: NDArray[np.bool_] = np.isnan(values)
    return empty


def impute(step: ImputeStep, index: int, values: Column) -> Column:
    """Replace missing values by the saved value."""
    value = step.values[index]
    if isinstance(values, pa.Array):
        return pc.fill_null(values, pa.scalar(value, values.type))
    return np.where(np.isnan(values), value, values)


def encode(encoding: Encoding, values: Column) -> tuple[Numbers, list[Unfit]]:
    """Encode every value.

    Returns:
        The codes, float64 `[rows]`, and the rows whose value has no code.
    """
    missing = is_missing(values)
    indices = _indices(encoding, values)
    codes = np.append(np.array(encoding.codes, dtype=np.float64), np.nan)[indices]
    unknown = (indices == len(encoding.codes)) & ~missing
    unfit: list[Unfit] = []
    for where, code, reason in (
        (unknown, encoding.unknown, "is a category that was not seen in training"),
        (missing, encoding.missing, "is missing, and training had no missing values here"),
    ):
        if where.any():
            codes[where] = np.nan if code is None else float(code)
            if code is None:
                unfit.append((np.flatnonzero(where), reason))
    return codes, unfit


def one_hot(codes: Numbers, width: int) -> list[Numbers]:
    """Codes → `width` columns of 0 and 1; all are 0 for code −1 or NaN."""
    return [(codes == index).astype(np.float64) for index in range(width)]


def _indices(encoding: Encoding, values: Column) -> NDArray[np.int64]:
    """The index of each value among the categories; the number of categories if it is none of them."""
    none = len(encoding.categories)
    if isinstance(values, pa.Array):
        found = pc.index_in(values, value_set=pa.array(encoding.categories, values.type))
        indices: NDArray[np.int64] = to_numpy(found.fill_null(none)).astype(np.int64)
        return indices
    order, table = _sorted(tuple(encoding.categories))
    if not none:
        return np.zeros(len(values), dtype=np.int64)
    at = np.minimum(np.searchsorted(table, values), none - 1)
    return np.where(table[at] == values, order[at], none)


@lru_cache(maxsize=1024)
def _sorted(categories: tuple[float, ...]) -> tuple[NDArray[np.int64], Numbers]:
    table = np.array(categories, dtype=np.float64)
    order = np.argsort(table, kind="stable")
    return order, table[order]
