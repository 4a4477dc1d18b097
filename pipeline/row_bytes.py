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
    return sum(_total(column) for column in batch.columns)


def _total(array: pa.Array) -> int:
    kind = array.type
    if is_light(kind):
        return (_width(kind) or 0) * len(array)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.sum(pc.binary_length(array)).as_py() or 0
    return int(_sizes(array).sum())


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
        fields = [_sizes(array.field(index)) for index in range(kind.num_fields)]
        return _where_known(array, _added([np.zeros(len(array), dtype=np.int64), *fields]))
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _of_views(array)
    if (width := _width(kind)) is not None:
        return np.full(len(array), width, dtype=np.int64)
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
    """A list takes what its values take. By offsets, since Arrow's kernels lack some types within lists."""
    kind, rows = array.type, len(array)
    if pa.types.is_fixed_size_list(kind):
        starts = np.arange(rows, dtype=np.int64) * kind.list_size
        ends, values = starts + kind.list_size, array.values.slice(array.offset * kind.list_size, rows * kind.list_size)
    elif pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts = to_numpy(array.offsets).astype(np.int64)
        ends, values = starts + to_numpy(array.sizes), array.values
    else:
        offsets = to_numpy(array.offsets).astype(np.int64)
        values = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        starts, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    sums = np.concatenate([[0], np.cumsum(_sizes(values))])
    return np.asarray(sums[_where_known(array, ends)] - sums[_where_known(array, starts)] + _OFFSET_BYTES)


def _where_known(array: pa.Array, sizes: Sizes) -> Sizes:
    """What stands below a null is not there."""
    return np.asarray(np.where(to_numpy(array.is_valid()), sizes, 0)) if array.null_count else sizes


def _numbers(array: pa.Array) -> Sizes:
    known = array.fill_null(0) if array.null_count else array
    return np.asarray(to_numpy(known)).astype(np.int64)
