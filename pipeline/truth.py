"""Columns that hold what is right → places of labels, yes or no, numbers. Knows nothing of predictions.

A null is no label; nor is NaN, nor an empty cell of text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .arrays import to_numpy
from .errors import DataError, one_line

_YES = {"true", "1", "yes", "1.0"}
_NO = {"false", "0", "no", "0.0"}
Known = NDArray[np.bool_]


def places_of(column: pa.Array, labels: Sequence[Any], name: str) -> tuple[NDArray[np.int64], Known]:
    """The place of each row's label among `labels`, `[rows]`, and which rows have one.

    Numbers are compared as numbers, also where they stand as text, as a CSV has them.

    Raises:
        DataError: a value that is no label; names the first.
    """
    try:
        column = _plain(column)
        found = _found(column, labels)
    except pa.ArrowException as error:
        raise DataError(f"label column {name!r} is {column.type}, and the labels are {_shown(labels)}") from error
    known = to_numpy(column.is_valid())
    strange = known & to_numpy(found.is_null())
    if strange.any():
        value = column[int(np.flatnonzero(strange)[0])].as_py()
        raise DataError(f"label column {name!r} holds {value!r}, which is no label; there are {_shown(labels)}")
    return to_numpy(found.fill_null(0)).astype(np.int64), known


def truths_of(columns: Sequence[pa.Array], names: Sequence[str]) -> tuple[NDArray[np.bool_], Known]:
    """Yes or no for each label, `[rows, labels]`, and which rows have all of them.

    Raises:
        DataError: a value that is neither yes nor no.
    """
    truths, known = [], np.ones(len(columns[0]), dtype=np.bool_)
    for column, name in zip(columns, names, strict=True):
        try:
            plain = _plain(column)
            words = pc.utf8_lower(plain.cast(pa.large_string()))
        except pa.ArrowException as error:
            raise DataError(f"label column {name!r} is {column.type}, and is to say yes or no (1, 0)") from error
        yes, no = (to_numpy(pc.is_in(words, value_set=pa.array(sorted(w), pa.large_string()))) for w in (_YES, _NO))
        there = to_numpy(plain.is_valid())
        strange = ~(yes | no) & there
        if strange.any():
            value = plain[int(np.flatnonzero(strange)[0])].as_py()
            raise DataError(f"label column {name!r} holds {value!r}, which is neither yes (1, true) nor no (0, false)")
        truths.append(yes)
        known &= there
    return np.stack(truths, axis=1), known


def numbers_of(column: pa.Array, name: str) -> tuple[NDArray[np.float64], Known]:
    """The right values, `[rows]`, and which rows have a finite one.

    Raises:
        DataError: a column that holds no numbers.
    """
    try:
        numbers = _plain(column).cast(pa.float64(), safe=False)
    except pa.ArrowException as error:
        raise DataError(f"label column {name!r} is {column.type}, no numbers: {one_line(error)}") from error
    values = np.asarray(to_numpy(numbers.fill_null(float("nan"))), dtype=np.float64)
    return values, np.isfinite(values)


def _plain(column: pa.Array) -> pa.Array:
    """Without dictionaries and views; what is missing is null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
        return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    if pa.types.is_null(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), None, column)
    return column


def _found(column: pa.Array, labels: Sequence[Any]) -> pa.Array:
    text = pa.types.is_large_string(column.type)
    if all(isinstance(label, bool) for label in labels):
        words = pc.utf8_lower(column.cast(pa.large_string()))
        yes, no = (pc.is_in(words, value_set=pa.array(sorted(which), pa.large_string())) for which in (_YES, _NO))
        truth = pc.if_else(yes, True, pc.if_else(no, False, None))
        return pc.index_in(truth, value_set=pa.array(labels), skip_nulls=True)
    if all(isinstance(label, str) for label in labels):
        return pc.index_in(
            column if text else column.cast(pa.large_string()),
            value_set=pa.array(labels, pa.large_string()),
            skip_nulls=True,
        )
    if text or pa.types.is_floating(column.type) or any(isinstance(label, float) for label in labels):
        wanted = pa.array([float(label) for label in labels])
        return pc.index_in(column.cast(pa.float64()), value_set=wanted, skip_nulls=True)
    return pc.index_in(column.cast(pa.int64()), value_set=pa.array(labels, pa.int64()), skip_nulls=True)


def _shown(labels: Sequence[Any]) -> str:
    return ", ".join(map(repr, list(labels)[:8]))
