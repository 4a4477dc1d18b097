"""Cells with lists: at least one step, and a value at every step."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ....schemas.inputs import Feature
from ...arrays import filled, to_numpy
from ...arrow_types import Problems
from ...nested import converted, without_dictionaries
from ...records import Lists
from .integers import integer_cells
from .numbers import number_cells
from .text import text_cells


def list_cells(array: pa.Array, feature: Feature) -> tuple[Lists, Problems]:
    """Check that each list has at least one step, and a value at every step. Steps are counted from 0."""
    array = converted(array, without_dictionaries(array.type))
    known = to_numpy(array.is_valid())
    problems = [(row, "is null") for row in np.flatnonzero(~known).tolist()]
    flat, lengths = pa.nulls(0), np.zeros(len(array), dtype=np.int64)
    if not pa.types.is_null(
        array.type
    ):  # without a cast: for a slice of list views, Arrow's cast yields negative lengths
        flat = array.flatten()
        lengths = np.where(known, filled(pc.list_value_length(array), 0), 0).astype(np.int64)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    problems += [(row, "has no steps") for row in np.flatnonzero((lengths == 0) & known).tolist()]
    values, found = _values(flat, feature)
    seen = set()
    for position, reason in sorted(found):
        row = int(np.searchsorted(offsets, position, side="right")) - 1
        if row not in seen:
            seen.add(row)
            problems.append((row, f"step {position - int(offsets[row])} {reason}"))
    return Lists(values=values, offsets=offsets), problems


def _values(flat: pa.Array, feature: Feature) -> tuple[Any, Problems]:
    """The values of all lists."""
    if feature.dtype == "words":
        return text_cells(flat, Feature(name=feature.name, dtype="text"))
    if feature.dtype == "integers":
        return integer_cells(flat, Feature(name=feature.name, dtype="integer"), decimal=None)
    return number_cells(flat, Feature(name=feature.name), decimal=None)
