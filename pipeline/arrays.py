"""numpy ↔ Arrow by their buffers, without a copy. pyarrow's own converters import pandas first: 0.1 s and 30 MB a
process (measured), which is not needed here. Independent of columns and files.
"""

from collections.abc import Iterator, Sequence
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


def text_array(words: Sequence[str]) -> pa.Array:
    """Strings → an Arrow string array."""
    data = [word.encode() for word in words]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(words), buffers)


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
            while stop < most and _follows(columns[stop], first, stop - start):
                stop += 1
        if stop == start + 1:
            yield start, first
        else:
            shape = (stop - start, len(first))
            joined = np.lib.stride_tricks.as_strided(first, shape, (first.nbytes, first.itemsize))
            yield slice(start, stop), joined
        start = stop


def _follows(column: Any, first: NDArray[Any], distance: int) -> bool:
    """Whether a column is the row at a distance after the first one in the same array."""
    return (
        isinstance(column, np.ndarray)
        and column.base is first.base
        and column.shape == first.shape
        and column.dtype == first.dtype
        and column.strides == first.strides == (first.itemsize,)
        and _address(column) == _address(first) + distance * first.nbytes
    )


def _address(values: NDArray[Any]) -> int:
    return int(values.__array_interface__["data"][0])
