"""Columns of numbers that need no conversion by cell → float64, all at once. Each call of numpy or Arrow releases the
GIL, and several for each column would keep many threads waiting for it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ....schemas.inputs import Feature
from ...arrays import stretches
from .numbers import EXACT

Together = Mapping[str, NDArray[np.float64]]
#: Below this number of rows, a column is in the nearest cache anyway, and calls for each take less than gathering them.
MIN_ROWS = 8192


def numbers_together(batch: pa.RecordBatch, names: Sequence[str]) -> Together:
    """The columns of floats, and of integers that have no nulls and are exact as float64: `[rows]` each, NaN where a
    value is null. They are rows of one array, in order (`arrays.stretches`). Other columns are left out, and all of
    them if there are few rows.
    """
    by_type = defaultdict[pa.DataType, list[str]](list)
    for name in names if batch.num_rows >= MIN_ROWS else ():
        column = batch.column(name)
        floats = pa.types.is_float64(column.type) or pa.types.is_float32(column.type)
        if floats or (pa.types.is_integer(column.type) and not column.null_count):
            by_type[column.type].append(name)
    found = [(some, values) for some in by_type.values() if (values := _float64(batch.select(some))) is not None]
    if len(found) == 1:
        return dict(zip(*found[0], strict=True))
    chosen = {name for some, _ in found for name in some}
    places = {name: place for place, name in enumerate(name for name in names if name in chosen)}
    whole = np.empty((len(places), batch.num_rows))
    for some, values in found:
        whole[[places[name] for name in some]] = values
    return dict(zip(places, whole, strict=True))


def suspects(columns: Together, features: Sequence[Feature]) -> set[str]:
    """The features among these columns in which a value may reject its row: an infinite one, or NaN unless missing
    values are kept. A sum is not finite if one of its values is not, and rarely, where it overflows, otherwise."""
    keeping = {feature.name for feature in features if feature.nulls == "keep"}
    names, values = list(columns), list(columns.values())
    found: set[str] = set()
    with np.errstate(over="ignore", invalid="ignore"):
        for where, some in stretches(values):
            if np.isfinite(some.sum()):
                continue
            if isinstance(where, slice):
                odd = np.flatnonzero(~np.isfinite(some.sum(axis=1)))
                found |= {names[where.start + row] for row in odd.tolist()}
            else:
                found.add(names[where])
    return {name for name in found if name not in keeping or np.isinf(columns[name]).any()}


def _float64(batch: pa.RecordBatch) -> NDArray[np.float64] | None:
    """Columns of one type, `[columns, rows]`; None if an integer is not exact."""
    floats = pa.types.is_floating(batch.schema.types[0])  # integers would be converted, exact or not
    pool = pa.system_memory_pool()  # Arrow's own returns memory that is freed to the system (`allocator.py`)
    values = np.asarray(batch.to_tensor(null_to_nan=floats, row_major=False, memory_pool=pool)).T
    if values.dtype.kind in "iu" and values.size and (values.max() > EXACT or values.min() < -EXACT):
        return None
    return np.asarray(values, dtype=np.float64)
