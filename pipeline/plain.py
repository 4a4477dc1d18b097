"""Arrow columns in layouts that all kernels support: without dictionaries, views, run-ends and extension types. Does
not import torch."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .arrays import filled, to_arrow, to_numpy
from .arrow_types import is_bytes, is_list
from .nested import joined


def whole(column: Any) -> pa.Array:
    """An array or chunked array as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return joined(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


def plain(column: Any) -> pa.Array:
    """The same values in one array that can be compared, hashed and taken from.

    Text becomes `large_string`, bytes `large_binary` and lists `large_list` of such, whatever their layout. Numbers,
    times and other types are unchanged.

    Raises:
        pa.ArrowException: a dictionary or text is broken.
    """
    array = whole(column)
    arrow_type = array.type
    if isinstance(arrow_type, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_run_end_encoded(arrow_type):
        return plain(pc.run_end_decode(array))
    if pa.types.is_dictionary(arrow_type):
        return plain(array.dictionary).take(array.indices)  # Arrow cannot decode a dictionary of views
    if is_text(arrow_type):
        return array.cast(pa.large_string())
    if is_bytes(arrow_type):
        return array.cast(pa.large_binary())
    return _plain_lists(array) if is_list(arrow_type) else array


def _plain_lists(array: pa.Array) -> pa.Array:
    """Rebuilds lists from their lengths, since Arrow's casts of list views lose values."""
    known = array.is_valid()
    lengths = np.where(to_numpy(known), filled(pc.list_value_length(array), 0), 0)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
    values = plain(array.flatten())
    return pa.LargeListArray.from_arrays(to_arrow(offsets), values, mask=pc.invert(known))


def exact_below(arrow_type: pa.DataType) -> int:
    """The bound from which on a float type no longer represents every integer: 2^53; for float32 2^24, float16 2^11."""
    return 1 << {16: 11, 32: 24}.get(arrow_type.bit_width, 53)


def is_text(arrow_type: pa.DataType) -> bool:
    """Whether a column of this type holds text, in any layout."""
    return bool(
        pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type)
    )
