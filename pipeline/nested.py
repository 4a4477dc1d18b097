"""Arrow arrays of any type, at any nesting: rows taken, values decoded, compared. Independent of files and columns.

Arrow cannot take rows of its view types, casts nested types with null-typed children wrongly even to themselves, and
holds no NaN equal to another. Arrays are rebuilt here from their buffers instead, and values only where types differ.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrays import bits, to_arrow, to_numpy

#: Views, and the type that Arrow can take from in their place.
_LARGE = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
#: What floats are compared as, so that NaN is equal to itself.
_BITS = {pa.float16(): pa.int16(), pa.float32(): pa.int32(), pa.float64(): pa.int64()}


def take(array: pa.Array, indices: NDArray[np.int64] | pa.Array) -> pa.Array:
    """The rows at some indices, with the array's type; null where an index is null. Run-end-encoded values come
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
    """The batch with columns of other types, such as `without_runs` makes of theirs."""
    fields = [field.with_type(change(field.type)) for field in batch.schema]
    schema = pa.schema(fields, batch.schema.metadata)
    if schema.equals(batch.schema):
        return batch
    columns = [converted(column, field.type) for column, field in zip(batch.columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def keep(array: pa.Array, mask: pa.Array) -> pa.Array:
    """The rows where a mask without nulls is true, with the array's type."""
    return take(array, np.flatnonzero(to_numpy(mask)))


def equal(one: pa.Array, other: pa.Array) -> bool:
    """Whether two arrays have the same type and the same values, bit for bit: NaN is equal to itself, and -0.0 is not
    0.0."""
    kind = one.type
    if kind != other.type or len(one) != len(other):
        return False
    if one.equals(other) and _mapped(kind, lambda inner: _BITS.get(inner, inner)).equals(kind):  # no floats
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return equal(one.storage, other.storage)
    if not one.is_null().equals(other.is_null()):
        return False
    if kind in _BITS:
        return bool(one.view(_BITS[kind]).equals(other.view(_BITS[kind])))
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        plain = without_runs(without_dictionaries(kind))
        return equal(converted(one, plain), converted(other, plain))
    if pa.types.is_struct(kind):
        return all(equal(mine, theirs) for mine, theirs in zip(one.flatten(), other.flatten(), strict=True))
    if _is_list(kind):
        (lengths, values), (others, theirs) = _elements(one), _elements(other)
        return bool((lengths == others).all()) and equal(values, theirs)
    return False


def converted(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values as another type, one of those below: at any nesting views ↔ large types, dictionaries and runs →
    their values, extension types ↔ what they are stored as."""
    own = array.type
    if own.equals(kind):
        return array
    if isinstance(own, pa.BaseExtensionType):
        return converted(array.storage, kind)
    if isinstance(kind, pa.BaseExtensionType):
        return kind.wrap_array(converted(array, kind.storage_type))
    if pa.types.is_run_end_encoded(own):
        places = np.arange(array.offset, array.offset + len(array), dtype=np.int64)
        runs = np.searchsorted(to_numpy(array.run_ends), places, side="right")
        return converted(take(array.values, runs), kind)
    if pa.types.is_dictionary(own) and pa.types.is_dictionary(kind):
        words = converted(array.dictionary, kind.value_type)
        return pa.DictionaryArray.from_arrays(array.indices, words, ordered=kind.ordered)
    if pa.types.is_dictionary(own):
        return converted(take(array.dictionary, array.indices), kind)
    if pa.types.is_struct(own):
        children = [converted(array.field(place), field.type) for place, field in enumerate(kind)]
        return _rebuilt(array, kind, [], children)
    if _is_list(own):
        return _converted_list(array, kind)
    return array.cast(kind)


def _converted_list(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Only the values of the list's own rows are converted, not those of the array that it is a slice of."""
    element = kind.field(0).type
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        return _rebuilt(array, kind, [], [converted(values, element)])
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        windows = [pa.py_buffer(np.ascontiguousarray(to_numpy(part))) for part in (array.offsets, array.sizes)]
        return _rebuilt(array, kind, windows, [converted(array.values, element)])
    offsets = to_numpy(array.offsets)
    start, stop = int(offsets[0]), int(offsets[-1])
    values = converted(array.values.slice(start, stop - start), element)
    return _rebuilt(array, kind, [pa.py_buffer(offsets - offsets.dtype.type(start))], [values])


def _rebuilt(array: pa.Array, kind: pa.DataType, buffers: list[pa.Buffer], children: list[pa.Array]) -> pa.Array:
    known = bits(to_numpy(array.is_valid())) if array.null_count else None
    return pa.Array.from_buffers(kind, len(array), [known, *buffers], children=children)


def _elements(array: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """How many values each list has that is not null, and the values of those, one behind the other."""
    if array.null_count:
        array = keep(array, array.is_valid())
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return np.full(len(array), size), array.values.slice(array.offset * size, len(array) * size)
    if pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type):
        return to_numpy(array.sizes), array.flatten()
    offsets = to_numpy(array.offsets)
    return np.diff(offsets), array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def takeable(kind: pa.DataType) -> pa.DataType:
    """The type with large ones in place of views, and without runs."""
    return _mapped(kind, lambda one: _LARGE.get(_value_of_runs(one), _value_of_runs(one)))


def without_dictionaries(kind: pa.DataType) -> pa.DataType:
    """The type with values in place of dictionaries."""
    return _mapped(kind, lambda one: one.value_type if pa.types.is_dictionary(one) else one)


def without_runs(kind: pa.DataType) -> pa.DataType:
    """The type with values in place of run-end-encoded ones."""
    return _mapped(kind, _value_of_runs)


def _value_of_runs(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_run_end_encoded(kind) else kind


def _mapped(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A type with every type within it changed, from the outside in; the type itself where none is."""
    while not isinstance(kind, pa.BaseExtensionType) and (changed := change(kind)) is not kind:
        kind = changed
    rebuilt = _with_inner(kind, lambda inner: _mapped(inner, change))
    return kind if rebuilt.equals(kind) else rebuilt


def _with_inner(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A type with those that it consists of changed."""

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(change(field.type))

    if isinstance(kind, pa.BaseExtensionType):
        storage = change(kind.storage_type)
        return kind if storage.equals(kind.storage_type) else storage
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, change(kind.value_type), kind.ordered)
    if pa.types.is_struct(kind):
        return pa.struct([inner(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(inner(kind.key_field), inner(kind.item_field), kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inner(kind.value_field), kind.list_size)
    for is_one, make in _LISTS.items():
        if is_one(kind):
            return make(inner(kind.value_field))
    return kind


_LISTS: dict[Callable[[pa.DataType], bool], Callable[[pa.Field], pa.DataType]] = {
    pa.types.is_list: pa.list_,
    pa.types.is_large_list: pa.large_list,
    pa.types.is_list_view: pa.list_view,
    pa.types.is_large_list_view: pa.large_list_view,
}


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) or pa.types.is_map(kind) or any(is_one(kind) for is_one in _LISTS)
