"""How many entries the first leaf of a column has, as Parquet counts the values of a column chunk: one for each value,
and one for each list that is empty or null. Where a file holds nothing but lists, this is what tells whether a row
group has the rows that its footer says.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..arrays import to_numpy

Entries = NDArray[np.int64]


def num_entries(array: pa.Array) -> int:
    """The entries of all rows."""
    return int(_entries(array).sum())


def _entries(array: pa.Array) -> Entries:
    """The entries of each row, `[rows]`."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _entries(array.storage)
    if pa.types.is_struct(kind) and kind.num_fields:
        return _entries(array.flatten()[0])
    if pa.types.is_map(kind):
        entries = pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
        return _entries(array.cast(pa.list_(entries)))
    if not pa.types.is_nested(kind):
        return np.ones(len(array), dtype=np.int64)
    lengths = to_numpy(pc.list_value_length(array).cast(pa.int64()).fill_null(0))
    below = np.concatenate([[0], np.cumsum(_entries(array.flatten()))])
    return np.asarray(np.maximum(1, np.diff(below[np.cumsum(lengths)], prepend=0)))
