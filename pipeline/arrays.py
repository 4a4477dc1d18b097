"""numpy ↔ Arrow by their buffers, without a copy, and Python values → Arrow. pyarrow's own converters import pandas
first, even for a scalar without a type: 0.1 s or more and 30 MB a process (measured), which is not needed here.
Independent of columns and files.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_TYPES = {
    np.dtype(np.float32): pa.float32(),
    np.dtype(np.float64): pa.float64(),
    np.dtype(np.int64): pa.int64(),
}
#: Bytes of the rows that are worked on together: a result of that size is still in the cache for the next operation.
MAX_TOGETHER_BYTES = 4 << 20


def to_numpy(array: pa.Array) -> NDArray[Any]:
    """The values of a numeric or bool array without nulls, `[rows]`. Numbers are not copied: do not write to them.

    Raises:
        TypeError: the array has another type, or contains nulls.
    """
    if pa.types.is_boolean(array.type):
        return np.asarray(np.from_dlpack(array.cast(pa.int8())).view(np.bool_))
    return np.asarray(np.from_dlpack(array))


def to_arrow(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """float32, float64, int64 or bool, `[rows]` → an Arrow array, with nulls where `valid` is false."""
    known = None if valid is None else bits(valid)
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [known, bits(values)])
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(_TYPES[values.dtype], len(values), [known, data])


def bits(values: NDArray[np.bool_]) -> pa.Buffer:
    """Booleans as an Arrow bitmap."""
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def repeated_text(text: str, rows: int) -> pa.Array:
    """The same string in every row. Much faster than encoding it for each."""
    data = text.encode()
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(len(data))
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data * rows)])


def text_array(words: Sequence[str | None]) -> pa.Array:
    """Strings, or None → an Arrow string array."""
    data = [b"" if word is None else word.encode() for word in words]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
    buffers = [_known(words), pa.py_buffer(offsets), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(words), buffers)


def filled(array: pa.Array, value: float) -> NDArray[Any]:
    """The values of an array of numbers or bools, with another in place of nulls. Do not write to them."""
    if not array.null_count:
        return to_numpy(array)
    plain = pa.Array.from_buffers(array.type, len(array), [None, array.buffers()[1]], offset=array.offset)
    return np.where(to_numpy(array.is_valid()), to_numpy(plain), value)


def batch_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows → columns of strings, bools, integers or bytes of one length, null where a row has no value."""
    columns = [_array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _array(values: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    if pa.types.is_string(arrow_type):
        return text_array(values)
    if pa.types.is_boolean(arrow_type):
        data = bits(np.array(values, dtype=np.bool_))  # None is false
    elif pa.types.is_fixed_size_binary(arrow_type):
        data = pa.py_buffer(b"".join(bytes(arrow_type.byte_width) if value is None else value for value in values))
    else:
        integers = np.array([0 if value is None else value for value in values], dtype=f"int{arrow_type.bit_width}")
        data = pa.py_buffer(integers)
    return pa.Array.from_buffers(arrow_type, len(values), [_known(values), data])


def _known(values: Sequence[Any]) -> pa.Buffer | None:
    """Which values are not None, as a bitmap; None for all."""
    known = np.array([value is not None for value in values], dtype=np.bool_)
    return None if known.all() else bits(known)


def stretches(
    columns: Sequence[Any], max_bytes: int = MAX_TOGETHER_BYTES
) -> Iterator[tuple[slice, NDArray[Any]] | tuple[int, Any]]:
    """Columns that lie side by side in memory, joined to one array without a copy.

    Each call of numpy releases the GIL and takes it again. Where many threads do so for every column, they mostly wait
    for one another.

    Args:
        columns: `[rows]` each. Consecutive rows of one array, such as `list(array)`, are joined.

    Yields:
        The positions of at least two columns, and these, `[columns, rows]`, of at most `max_bytes`; or the position of
        any other column, and the column as it is. In order.
    """
    start = 0
    while start < len(columns):
        first, stop = columns[start], start + 1
        if isinstance(first, np.ndarray) and first.ndim == 1 and first.base is not None:
            most = min(len(columns), start + max(1, max_bytes // max(1, first.nbytes)))
            address = _address(first)
            while stop < most and _is_like(columns[stop], first):
                if _address(columns[stop]) != address + (stop - start) * first.nbytes:
                    break
                stop += 1
        if stop == start + 1:
            yield start, first
        else:
            shape = (stop - start, len(first))
            joined = np.lib.stride_tricks.as_strided(first, shape, (first.nbytes, first.itemsize))
            yield slice(start, stop), joined
        start = stop


def _is_like(column: Any, first: NDArray[Any]) -> bool:
    """Whether a column is a row of the same array as the first one."""
    return (
        isinstance(column, np.ndarray)
        and column.base is first.base
        and column.shape == first.shape
        and column.dtype == first.dtype
        and column.strides == first.strides == (first.itemsize,)
    )


def _address(values: NDArray[Any]) -> int:
    return int(values.__array_interface__["data"][0])
