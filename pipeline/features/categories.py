"""Steps on categories and missing values. Categories are compared for exact equality, in a table that is
made once. Independent of tensors and files.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.steps import Encoding, ImputeStep
from ..arrays import filled, text_array, to_numpy
from ..same import Same
from .numeric import Numbers

#: float64 `[rows]`, or an Arrow array of int64 or of strings.
Column: TypeAlias = Any
#: Above this number of categories, text is looked up in a dict.
MANY_WORDS = 1 << 17
#: Rows for which a step has no value, and the reason.
Unfit = tuple[NDArray[np.int64], str]


def is_missing(values: Column) -> NDArray[np.bool_]:
    """bool `[rows]`: NaN, or null in an Arrow array."""
    if isinstance(values, pa.Array):
        nulls: NDArray[np.bool_] = np.asarray(to_numpy(values.is_null()), dtype=np.bool_)
        return nulls
    empty: NDArray[np.bool_] = np.isnan(values)
    return empty


def impute(step: ImputeStep, index: int, values: Column) -> Column:
    """Replace missing values by the saved value."""
    value = step.values[index]
    if isinstance(values, pa.Array):
        value = int(value) if pa.types.is_integer(values.type) else value
        return pc.fill_null(values, pa.scalar(value, values.type))
    return np.where(np.isnan(values), value, values)


def encode(encoding: Encoding, values: Column) -> tuple[Numbers, list[Unfit]]:
    """Encode every value.

    Returns:
        The codes, float64 `[rows]`, and the rows whose value has no code.
    """
    lookup = _lookup(Same(encoding), values.type if isinstance(values, pa.Array) else None)
    missing, indices = is_missing(values), lookup.indices(values)
    codes = lookup.codes[indices]
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


class _Lookup(ABC):
    """Finds the index of each value among the categories; the number of categories if it is none of them. `codes`: of
    the categories, and NaN for any other value."""

    def __init__(self, encoding: Encoding) -> None:
        self.codes: Numbers = np.append(np.array(encoding.codes, dtype=np.float64), np.nan)
        self._none = len(encoding.codes)

    @abstractmethod
    def indices(self, values: Column) -> NDArray[np.int64]:
        """`[rows]`."""


class _Sorted(_Lookup):
    """Numbers, by binary search: float64, or int64 with nulls."""

    def __init__(self, encoding: Encoding, dtype: type[np.float64] | type[np.int64]) -> None:
        super().__init__(encoding)
        table = np.array(encoding.categories, dtype=dtype)
        self._order = np.argsort(table, kind="stable")
        self._table = table[self._order]

    def indices(self, values: Column) -> NDArray[np.int64]:
        """`[rows]`."""
        known = None
        if isinstance(values, pa.Array):
            known = to_numpy(values.is_valid()) if values.null_count else None
            values = filled(values, 0)
        if not self._none:
            return np.zeros(len(values), dtype=np.int64)
        at = np.minimum(np.searchsorted(self._table, values), self._none - 1)
        found = self._table[at] == values
        return np.where(found if known is None else found & known, self._order[at], self._none)


class _Words(_Lookup):
    """Text. Arrow hashes the categories for each block, so many of them are looked up in a dict, each different value
    of a block once."""

    def __init__(self, encoding: Encoding, arrow_type: pa.DataType) -> None:
        super().__init__(encoding)
        many = len(encoding.categories) > MANY_WORDS
        self._table = {str(word): at for at, word in enumerate(encoding.categories)} if many else None
        self._categories = None if many else text_array(list(map(str, encoding.categories))).cast(arrow_type)

    def indices(self, values: Column) -> NDArray[np.int64]:
        """`[rows]`."""
        if self._table is None:
            found = pc.index_in(values, value_set=self._categories)
            return np.asarray(filled(found, self._none).astype(np.int64))
        encoded = values.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        own = np.array([*(self._table.get(word, self._none) for word in words), self._none], dtype=np.int64)
        return np.asarray(own[filled(encoded.indices, len(words))])


@lru_cache(maxsize=1024)
def _lookup(same: Same[Encoding], arrow_type: pa.DataType | None) -> _Lookup:
    encoding = same.value
    if arrow_type is None:
        return _Sorted(encoding, np.float64)
    if not pa.types.is_integer(arrow_type):
        return _Words(encoding, arrow_type)
    return _Sorted(encoding, np.int64)
