"""How many bytes the rows of a batch take, once decoded: a function of their values alone, whatever buffers and batches
they came in. Independent of files and columns' meaning.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .arrays import to_numpy

#: A value up to this wide is light: a batch of numbers takes what its rows and columns say, and is not measured.
LIGHT_BYTES = 32
#: Of a list, beside its values.
_OFFSET_BYTES = 4
_VIEW_BYTES = 16
Sizes = NDArray[np.int64]


def is_light(kind: pa.DataType) -> bool:
    """Whether a value is a number, or as small as one."""
    width = _width(kind)
    return width is not None and width <= LIGHT_BYTES


def row_bytes(batch: pa.RecordBatch) -> Sizes | None:
    """What each row takes in columns that are not light, `[rows]`; None where there are none. A value of a dictionary
    counts as often as it appears."""
    heavy = [column for column in batch.columns if not is_light(column.type)]
    if not heavy:
        return None
    return _added([_sizes(column) for column in heavy])


def batch_bytes(batch: pa.RecordBatch) -> int:
    """What all rows of a batch take."""
    light: int = sum(_width(kind) or 0 for kind in batch.schema.types if is_light(kind))
    sizes = row_bytes(batch)
    return light * int(batch.num_rows) + (0 if sizes is None else int(sizes.sum()))


def _width(kind: pa.DataType) -> int | None:
    """The bytes of every value of a type, None where values differ."""
    if pa.types.is_null(kind) or pa.types.is_boolean(kind):
        return 1
    try:
        return -(-int(kind.bit_width) // 8) if not pa.types.is_dictionary(kind) else None
    except ValueError:
        return None


def _sizes(array: pa.Array) -> Sizes:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _sizes(array.storage)
    if pa.types.is_dictionary(kind):
        return _of_dictionary(array)
    if pa.types.is_run_end_encoded(kind):
        return _sizes(pc.run_end_decode(array))
    if pa.types.is_struct(kind):
        return _added([np.zeros(len(array), dtype=np.int64), *map(_sizes, array.flatten())])
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _of_views(array)
    if (width := _width(kind)) is not None:
        return np.full(len(array), width, dtype=np.int64)
    if pa.types.is_map(kind):
        entries = pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
        return _of_lists(array.cast(pa.list_(entries)))
    if pa.types.is_nested(kind):
        return _of_lists(array)
    return _numbers(pc.binary_length(array))


def _added(sizes: Sequence[Sizes]) -> Sizes:
    return np.asarray(np.sum(sizes, axis=0, dtype=np.int64))


def _of_dictionary(array: pa.DictionaryArray) -> Sizes:
    entries = np.append(_sizes(array.dictionary), 0)  # what a null takes stands last
    return np.asarray(entries[to_numpy(array.indices.cast(pa.int64()).fill_null(len(entries) - 1))])


def _of_views(array: pa.Array) -> Sizes:
    """A view begins with its length, as 32 bits."""
    start, stop = array.offset * _VIEW_BYTES, (array.offset + len(array)) * _VIEW_BYTES
    views = np.frombuffer(array.buffers()[1], dtype=np.int32, count=stop // 4)
    lengths = views[start // 4 :: 4].astype(np.int64)
    lengths[to_numpy(array.is_null())] = 0
    return lengths


def _of_lists(array: pa.Array) -> Sizes:
    """A list takes what its values take. Values below a null are not there."""
    ends = np.cumsum(_numbers(pc.list_value_length(array)))
    values = np.concatenate([[0], np.cumsum(_sizes(array.flatten()))])
    return np.diff(values[ends], prepend=0) + _OFFSET_BYTES


def _numbers(array: pa.Array) -> Sizes:
    return np.asarray(to_numpy(array.cast(pa.int64()).fill_null(0)))
