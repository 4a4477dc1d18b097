"""The bytes that the rows of a batch take once decoded. They depend on the values alone, not on buffers or batches.
Independent of files and the meaning of columns.
"""

from collections.abc import Sequence
from struct import unpack_from

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .arrays import filled, to_numpy

#: Values up to this width are light: the size of such columns follows from the type and is not measured.
LIGHT_BYTES = 32
#: The widths of common types by id: asking a type for it takes longer than a column of a small file.
_WIDTHS: dict[int, int] = {one.id: -(-one.bit_width // 8) for one in (
    pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
    pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.timestamp("us"),
)}  # fmt: skip
#: Variable widths by id: the format and the bytes of an offset.
_TEXTS: dict[int, tuple[str, int]] = {
    pa.string().id: ("=i", 4), pa.large_string().id: ("=q", 8),
    pa.binary().id: ("=i", 4), pa.large_binary().id: ("=q", 8),
}  # fmt: skip
#: The offset of a list, in addition to its values.
_OFFSET_BYTES = 4
_VIEW_BYTES = 16
Sizes = NDArray[np.int64]


def is_light(arrow_type: pa.DataType) -> bool:
    """Whether values of the type have a fixed width of at most `LIGHT_BYTES`."""
    width = _width(arrow_type)
    return width is not None and width <= LIGHT_BYTES


def row_bytes(batch: pa.RecordBatch) -> Sizes | None:
    """The bytes of each row in columns that are not light, `[rows]`; None if there are none. A dictionary value counts
    as often as it appears."""
    heavy = [column for column in batch.columns if not is_light(column.type)]
    if not heavy:
        return None
    return _added([_sizes(column) for column in heavy])


def heavy_bytes(batch: pa.RecordBatch) -> int:
    """The sum of `row_bytes`, which takes a third of the time for texts (measured)."""
    return sum(_total(batch.column(at)) for at, one in enumerate(batch.schema.types) if not is_light(one))


def light_bytes(schema: pa.Schema) -> int:
    """The bytes of a row in the columns that are light."""
    return sum(_width(one) or 0 for one in schema.types if is_light(one))


def batch_bytes(batch: pa.RecordBatch) -> int:
    """The bytes of all rows of a batch."""
    return heavy_bytes(batch) + light_bytes(batch.schema) * int(batch.num_rows)


def _total(array: pa.Array) -> int:
    text = _TEXTS.get(array.type.id)
    if text is None or array.null_count:
        return int(_sizes(array).sum())
    return _text_bytes(array, *text) if len(array) else 0


def _text_bytes(array: pa.Array, integer: str, width: int) -> int:
    """The bytes of texts without nulls, by their offsets. Arrow's functions take longer for a small file."""
    start, stop = array.offset, array.offset + len(array)
    offsets = array.buffers()[1]
    return int(unpack_from(integer, offsets, width * stop)[0] - unpack_from(integer, offsets, width * start)[0])


def _width(arrow_type: pa.DataType) -> int | None:
    """The width of a type in bytes, None if it is variable."""
    if (width := _WIDTHS.get(arrow_type.id)) is not None or arrow_type.id in _TEXTS:
        return width
    if pa.types.is_null(arrow_type) or pa.types.is_boolean(arrow_type):
        return 1
    try:
        return -(-int(arrow_type.bit_width) // 8) if not pa.types.is_dictionary(arrow_type) else None
    except ValueError:
        return None


def _sizes(array: pa.Array) -> Sizes:
    arrow_type = array.type
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _sizes(array.storage)
    if pa.types.is_dictionary(arrow_type):
        return _of_dictionary(array)
    if pa.types.is_run_end_encoded(arrow_type):
        return _sizes(pc.run_end_decode(array))
    if pa.types.is_struct(arrow_type):
        fields = [_sizes(array.field(index)) for index in range(arrow_type.num_fields)]
        return _where_known(array, _added([np.zeros(len(array), dtype=np.int64), *fields]))
    if pa.types.is_string_view(arrow_type) or pa.types.is_binary_view(arrow_type):
        return _of_views(array)
    if (width := _width(arrow_type)) is not None:
        return np.full(len(array), width, dtype=np.int64)
    if pa.types.is_nested(arrow_type):
        return _of_lists(array)
    return _numbers(pc.binary_length(array))


def _added(sizes: Sequence[Sizes]) -> Sizes:
    return np.asarray(np.sum(sizes, axis=0, dtype=np.int64))


def _of_dictionary(array: pa.DictionaryArray) -> Sizes:
    entries = np.append(_sizes(array.dictionary), 0)  # the last entry is the size of a null
    return np.asarray(entries[to_numpy(array.indices.cast(pa.int64()).fill_null(len(entries) - 1))])


def _of_views(array: pa.Array) -> Sizes:
    """A view begins with its length, in 32 bits."""
    start, stop = array.offset * _VIEW_BYTES, (array.offset + len(array)) * _VIEW_BYTES
    views = np.frombuffer(array.buffers()[1], dtype=np.int32, count=stop // 4)
    lengths = views[start // 4 :: 4].astype(np.int64)
    lengths[to_numpy(array.is_null())] = 0
    return lengths


def _of_lists(array: pa.Array) -> Sizes:
    """The bytes of the values of each list. Uses offsets, since some Arrow kernels do not support all types in
    lists."""
    arrow_type, rows = array.type, len(array)
    if pa.types.is_fixed_size_list(arrow_type):
        starts = np.arange(rows, dtype=np.int64) * arrow_type.list_size
        ends, values = (
            starts + arrow_type.list_size,
            array.values.slice(array.offset * arrow_type.list_size, rows * arrow_type.list_size),
        )
    elif pa.types.is_list_view(arrow_type) or pa.types.is_large_list_view(arrow_type):
        starts = to_numpy(array.offsets).astype(np.int64)
        ends, values = starts + to_numpy(array.sizes), array.values
    else:
        offsets = to_numpy(array.offsets).astype(np.int64)
        values = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        starts, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    sums = np.concatenate([[0], np.cumsum(_sizes(values))])
    return np.asarray(sums[_where_known(array, ends)] - sums[_where_known(array, starts)] + _OFFSET_BYTES)


def _where_known(array: pa.Array, sizes: Sizes) -> Sizes:
    """Values under a null take no bytes."""
    return np.asarray(np.where(to_numpy(array.is_valid()), sizes, 0)) if array.null_count else sizes


def _numbers(array: pa.Array) -> Sizes:
    return np.asarray(filled(array, 0)).astype(np.int64)
