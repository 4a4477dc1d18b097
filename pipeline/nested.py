"""Arrow arrays of any type, at any nesting: take rows, decode values, compare. Independent of files and columns.

Arrow cannot take rows of text views, loses values when it casts list views, casts nested types with null-typed children
wrongly even to themselves, and does not treat NaN as equal to NaN. These functions rebuild arrays from their buffers,
and convert values only where types differ.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrays import bits, to_arrow, to_numpy

#: View types, and the equivalent types from which Arrow can take rows.
_LARGE = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
#: The types that floats are viewed as for comparison, so that NaN equals itself.
_BITS = {pa.float16(): pa.int16(), pa.float32(): pa.int32(), pa.float64(): pa.int64()}


def take(array: pa.Array, indices: NDArray[np.int64] | pa.Array) -> pa.Array:
    """The rows at some indices, with the array's type; null where an index is null. Run-end-encoded values are
    decoded."""
    where = indices if isinstance(indices, pa.Array) else to_arrow(indices)
    plain = takeable(array.type)
    if plain.equals(array.type):
        return array.take(where)
    return converted(converted(array, plain).take(where), without_runs(array.type))


def take_rows(batch: pa.RecordBatch, indices: NDArray[np.int64]) -> pa.RecordBatch:
    """Some rows of a batch, every column by `take`."""
    where = to_arrow(indices)
    columns = [take(column, where) for column in batch.columns]
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))


def with_types(batch: pa.RecordBatch, change: Callable[[pa.DataType], pa.DataType]) -> pa.RecordBatch:
    """The batch with `change` applied to the type of every column, for example `without_runs`."""
    fields = [field.with_type(change(field.type)) for field in batch.schema]
    schema = pa.schema(fields, batch.schema.metadata)
    if schema.equals(batch.schema):
        return batch
    columns = [converted(column, field.type) for column, field in zip(batch.columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """All rows of arrays of one type. Where Arrow cannot unite their dictionaries (more words than the indices can
    count, a null word, words that are lists), the result has a new one, with indices of at least 32 bits."""
    try:
        return pa.concat_arrays(arrays)
    except pa.ArrowException:
        arrow_type = arrays[0].type
        if not pa.types.is_dictionary(arrow_type):
            raise
    values = pa.concat_arrays([take(array.dictionary, array.indices) for array in arrays])
    try:
        encoded = values.dictionary_encode()
        indices, words = encoded.indices, encoded.dictionary
    except pa.ArrowException:  # there is no such kernel
        indices, words = to_arrow(np.arange(len(values)), to_numpy(values.is_valid())), values
    wide = with_wide_indices(arrow_type).index_type
    return pa.DictionaryArray.from_arrays(indices.cast(wide), words, ordered=arrow_type.ordered)


def joined_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """All rows of batches of one schema, every column by `joined`."""
    try:
        return pa.concat_batches(batches)
    except pa.ArrowException:
        columns = [joined([batch.column(index) for batch in batches]) for index in range(batches[0].num_columns)]
    fields = [field.with_type(column.type) for field, column in zip(batches[0].schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batches[0].schema.metadata))


def in_one_batch(table: pa.Table) -> pa.RecordBatch:
    """All rows of a table."""
    batches = table.to_batches()
    return joined_batches(batches) if batches else pa.RecordBatch.from_pylist([], table.schema)


def keep(array: pa.Array, mask: pa.Array) -> pa.Array:
    """The rows where a mask without nulls is true, with the array's type."""
    return take(array, np.flatnonzero(to_numpy(mask)))


def equal(one: pa.Array, other: pa.Array) -> bool:
    """Whether two arrays have the same type and the same values, bit for bit: NaN equals itself, and -0.0 does not
    equal 0.0."""
    arrow_type = one.type
    if arrow_type != other.type or len(one) != len(other):
        return False
    if one.equals(other) and _mapped(arrow_type, lambda inner: _BITS.get(inner, inner)).equals(arrow_type):  # no floats
        return True
    if isinstance(arrow_type, pa.BaseExtensionType):
        return equal(one.storage, other.storage)
    if not one.is_null().equals(other.is_null()):
        return False
    if arrow_type in _BITS:
        return bool(one.view(_BITS[arrow_type]).equals(other.view(_BITS[arrow_type])))
    if pa.types.is_dictionary(arrow_type) or pa.types.is_run_end_encoded(arrow_type):
        plain = without_runs(without_dictionaries(arrow_type))
        return equal(converted(one, plain), converted(other, plain))
    if pa.types.is_struct(arrow_type):
        return all(equal(mine, theirs) for mine, theirs in zip(one.flatten(), other.flatten(), strict=True))
    if _is_list(arrow_type):
        (lengths, values), (others, theirs) = _elements(one), _elements(other)
        return bool((lengths == others).all()) and equal(values, theirs)
    return False


def converted(array: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """Convert to another type. At any nesting: text views ↔ large types, list views → large lists, dictionaries and
    runs → their values, extension types ↔ their storage types."""
    own = array.type
    if own.equals(arrow_type):
        return array
    if isinstance(own, pa.BaseExtensionType):
        return converted(array.storage, arrow_type)
    if isinstance(arrow_type, pa.BaseExtensionType):
        return arrow_type.wrap_array(converted(array, arrow_type.storage_type))
    if pa.types.is_run_end_encoded(own):
        positions = np.arange(array.offset, array.offset + len(array), dtype=np.int64)
        runs = np.searchsorted(to_numpy(array.run_ends), positions, side="right")
        return converted(take(array.values, runs), arrow_type)
    if pa.types.is_dictionary(own) and pa.types.is_dictionary(arrow_type):
        words, indices = converted(array.dictionary, arrow_type.value_type), array.indices.cast(arrow_type.index_type)
        return pa.DictionaryArray.from_arrays(indices, words, ordered=arrow_type.ordered)
    if pa.types.is_dictionary(own):
        return converted(take(array.dictionary, array.indices), arrow_type)
    if pa.types.is_struct(own):
        children = [converted(array.field(index), field.type) for index, field in enumerate(arrow_type)]
        return _rebuilt(array, arrow_type, [], children)
    if _is_list(own):
        return _converted_list(array, arrow_type)
    return array.cast(arrow_type)


def _converted_list(array: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """Converts only the values of the rows in the slice, not those of the whole underlying array."""
    element = arrow_type.field(0).type
    if pa.types.is_fixed_size_list(arrow_type):
        size = arrow_type.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        return _rebuilt(array, arrow_type, [], [converted(values, element)])
    if _is_list_view(array.type) and not _is_list_view(arrow_type):
        lengths = np.where(to_numpy(array.is_valid()), to_numpy(array.sizes), 0)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
        return _rebuilt(array, arrow_type, [pa.py_buffer(offsets)], [converted(array.flatten(), element)])
    if _is_list_view(arrow_type):
        windows = [pa.py_buffer(np.ascontiguousarray(to_numpy(part))) for part in (array.offsets, array.sizes)]
        return _rebuilt(array, arrow_type, windows, [converted(array.values, element)])
    offsets = to_numpy(array.offsets)
    start, stop = int(offsets[0]), int(offsets[-1])
    values = converted(array.values.slice(start, stop - start), element)
    return _rebuilt(array, arrow_type, [pa.py_buffer(offsets - offsets.dtype.type(start))], [values])


def _rebuilt(array: pa.Array, arrow_type: pa.DataType, buffers: list[pa.Buffer], children: list[pa.Array]) -> pa.Array:
    known = bits(to_numpy(array.is_valid())) if array.null_count else None
    return pa.Array.from_buffers(arrow_type, len(array), [known, *buffers], children=children)


def _elements(array: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """The lengths of the lists that are not null, and their concatenated values."""
    if array.null_count:
        array = keep(array, array.is_valid())
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return np.full(len(array), size), array.values.slice(array.offset * size, len(array) * size)
    if _is_list_view(array.type):
        return to_numpy(array.sizes), array.flatten()
    offsets = to_numpy(array.offsets)
    return np.diff(offsets), array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def takeable(arrow_type: pa.DataType) -> pa.DataType:
    """The type with text views replaced by large types, and runs by their values."""
    return _mapped(arrow_type, lambda one: _LARGE.get(_value_of_runs(one), _value_of_runs(one)))


def without_dictionaries(arrow_type: pa.DataType) -> pa.DataType:
    """The type with dictionaries replaced by their value types."""
    return _mapped(arrow_type, lambda one: one.value_type if pa.types.is_dictionary(one) else one)


def with_wide_indices(arrow_type: pa.DataType) -> pa.DataType:
    """A dictionary with indices of at least 32 bits, since several row groups together may have more words than one.
    Other types are unchanged, and so are dictionaries within lists and structs."""
    if not pa.types.is_dictionary(arrow_type) or arrow_type.index_type.bit_width >= 32:
        return arrow_type
    return pa.dictionary(pa.int32(), arrow_type.value_type, arrow_type.ordered)


def without_list_views(arrow_type: pa.DataType) -> pa.DataType:
    """The type with list views replaced by large lists."""
    return _mapped(arrow_type, lambda one: pa.large_list(one.value_field) if _is_list_view(one) else one)


def without_runs(arrow_type: pa.DataType) -> pa.DataType:
    """The type with run-end-encoded types replaced by their value types."""
    return _mapped(arrow_type, _value_of_runs)


def with_named_entries(arrow_type: pa.DataType) -> pa.DataType:
    """The type whose maps, at any nesting, have Arrow's name for their entries. Files may have another one, which is
    lost where a type is sent to another process."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        return arrow_type
    return _with_inner(arrow_type, with_named_entries)


def _value_of_runs(arrow_type: pa.DataType) -> pa.DataType:
    return arrow_type.value_type if pa.types.is_run_end_encoded(arrow_type) else arrow_type


def _mapped(arrow_type: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Apply `change` to a type and all types nested in it, from the outside in; return the same object if none
    changes."""
    while not isinstance(arrow_type, pa.BaseExtensionType) and (changed := change(arrow_type)) is not arrow_type:
        arrow_type = changed
    rebuilt = _with_inner(arrow_type, lambda inner: _mapped(inner, change))
    return arrow_type if rebuilt.equals(arrow_type) else rebuilt


def _with_inner(arrow_type: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A type with its direct child types changed."""

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(change(field.type))

    if isinstance(arrow_type, pa.BaseExtensionType):
        storage = change(arrow_type.storage_type)
        return arrow_type if storage.equals(arrow_type.storage_type) else storage
    if pa.types.is_dictionary(arrow_type):
        return pa.dictionary(arrow_type.index_type, change(arrow_type.value_type), arrow_type.ordered)
    if pa.types.is_struct(arrow_type):
        return pa.struct([inner(field) for field in arrow_type])
    if pa.types.is_map(arrow_type):
        return pa.map_(inner(arrow_type.key_field), inner(arrow_type.item_field), arrow_type.keys_sorted)
    if pa.types.is_fixed_size_list(arrow_type):
        return pa.list_(inner(arrow_type.value_field), arrow_type.list_size)
    for is_one, make in _LISTS.items():
        if is_one(arrow_type):
            return make(inner(arrow_type.value_field))
    return arrow_type


_LISTS: dict[Callable[[pa.DataType], bool], Callable[[pa.Field], pa.DataType]] = {
    pa.types.is_list: pa.list_,
    pa.types.is_large_list: pa.large_list,
    pa.types.is_list_view: pa.list_view,
    pa.types.is_large_list_view: pa.large_list_view,
}


def _is_list_view(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(arrow_type) or pa.types.is_large_list_view(arrow_type))


def _is_list(arrow_type: pa.DataType) -> bool:
    return (
        pa.types.is_fixed_size_list(arrow_type)
        or pa.types.is_map(arrow_type)
        or any(is_one(arrow_type) for is_one in _LISTS)
    )
