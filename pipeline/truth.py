"""Columns that hold what is right → places of labels. Knows nothing of predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .arrays import to_numpy
from .errors import DataError

_YES = {"true", "1", "yes", "1.0"}
_NO = {"false", "0", "no", "0.0"}


def places_of(column: pa.Array, labels: Sequence[Any], name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The place of each row's label among `labels`, `[rows]`, and which rows have one: a null has none.

    A column of text is compared with the labels as text, as a CSV has them.

    Raises:
        DataError: a value that is no label; names the first and its row within the batch.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    known = to_numpy(column.is_valid())
    if pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=np.int64), known
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    try:
        if text:
            column = column.cast(pa.large_string())
            column = pc.utf8_lower(column) if all(isinstance(label, bool) for label in labels) else column
            wanted = pa.array([_spelled(label) for label in labels], pa.large_string())
        else:
            wanted = pa.array(labels)
            if wanted.type != column.type:
                wide = pa.float64() if pa.types.is_floating(wanted.type) or pa.types.is_floating(column.type) else None
                wanted, column = (each.cast(wide or pa.int64()) for each in (wanted, column))
    except pa.ArrowException as error:
        raise DataError(f"label column {name!r} is {column.type}, and the labels are {list(labels)[:8]}") from error
    found = pc.index_in(column, value_set=wanted)
    strange = to_numpy(pc.and_(found.is_null(), column.is_valid()))
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        shown = ", ".join(map(repr, list(labels)[:8]))
        raise DataError(f"label column {name!r} holds {column[row].as_py()!r}, which is no label; there are {shown}")
    return to_numpy(found.fill_null(0)).astype(np.int64), known


def truths_of(columns: Sequence[pa.Array], names: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Yes or no for each label, `[rows, labels]`, and which rows have all of them.

    Raises:
        DataError: a value that is neither yes nor no.
    """
    truths, known = [], np.ones(len(columns[0]), dtype=np.bool_)
    for column, name in zip(columns, names, strict=True):
        known &= to_numpy(column.is_valid())
        words = pc.utf8_lower(column.cast(pa.string())) if not pa.types.is_boolean(column.type) else None
        if words is None:
            truths.append(to_numpy(column.fill_null(False)))
            continue
        yes, no = (to_numpy(pc.is_in(words, value_set=pa.array(sorted(which)))) for which in (_YES, _NO))
        strange = ~(yes | no) & to_numpy(column.is_valid())
        if strange.any():
            value = column[int(np.flatnonzero(strange)[0])].as_py()
            raise DataError(f"label column {name!r} holds {value!r}, which is neither yes (1, true) nor no (0, false)")
        truths.append(yes)
    return np.stack(truths, axis=1), known


def _spelled(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
