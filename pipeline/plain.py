"""Arrow columns as kernels take them: without dictionaries, views, run-ends and extensions. Does not import torch."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .arrays import to_numpy
from .arrow_types import is_bytes, is_list


def whole(column: Any) -> pa.Array:
    """One array, of an array or of chunks."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def plain(column: Any) -> pa.Array:
    """The same values in one array that can be compared, hashed and taken from.

    Text becomes `large_string`, bytes `large_binary` and lists `large_list` of such, whatever their layout. Numbers,
    times and the rest stay as they are.

    Raises:
        pa.ArrowException: dictionaries or text that are broken.
    """
    array = whole(column)
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(array))
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary).take(array.indices)  # Arrow decodes no dictionary of views
    if is_text(kind):
        return array.cast(pa.large_string())
    if is_bytes(kind):
        return array.cast(pa.large_binary())
    return _plain_lists(array) if is_list(kind) else array


def _plain_lists(array: pa.Array) -> pa.Array:
    """By their lengths: Arrow's casts of list views lose what is in them."""
    known = array.is_valid()
    lengths = np.where(to_numpy(known), to_numpy(pc.list_value_length(array).fill_null(0)), 0)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
    values = plain(array.flatten())
    return pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=pc.invert(known))


def exact_below(kind: pa.DataType) -> int:
    """From this number on, a float of this type stands for several integers: 2^53, of float32 2^24, of float16 2^11."""
    return 1 << {16: 11, 32: 24}.get(kind.bit_width, 53)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, in any layout."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
