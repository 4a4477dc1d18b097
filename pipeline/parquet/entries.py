"""Counts the entries of the first leaf of a column, as Parquet counts the values of a column chunk: one for each value,
and one for each list that is empty or null. If a file contains only lists, this is how a wrong number of rows in its
footer is detected.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..arrays import filled

Entries = NDArray[np.int64]


def num_entries(array: pa.Array) -> int:
    """The number of entries of all rows."""
    return int(_entries(array).sum())


def _entries(array: pa.Array) -> Entries:
    """The number of entries of each row, `[rows]`."""
    arrow_type = array.type
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _entries(array.storage)
    if pa.types.is_struct(arrow_type) and arrow_type.num_fields:
        return _entries(array.flatten()[0])
    if pa.types.is_map(arrow_type):
        entries = pa.struct([pa.field("key", arrow_type.key_type), pa.field("value", arrow_type.item_type)])
        return _entries(array.cast(pa.list_(entries)))
    if not pa.types.is_nested(arrow_type):
        return np.ones(len(array), dtype=np.int64)
    lengths = filled(pc.list_value_length(array).cast(pa.int64()), 0)
    below = np.concatenate([[0], np.cumsum(_entries(array.flatten()))])
    return np.asarray(np.maximum(1, np.diff(below[np.cumsum(lengths)], prepend=0)))
