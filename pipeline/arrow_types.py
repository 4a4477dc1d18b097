"""Predicates on the Arrow types that features can have."""

import pyarrow as pa

_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
#: The bad values of one column of one batch: row positions and reasons.
Problems = list[tuple[int, str]]


def is_text(arrow_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(arrow_type):
        return is_text(arrow_type.value_type)
    return bool(
        pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type)
    )


def is_bytes(arrow_type: pa.DataType) -> bool:
    """Whether a type is binary, in any layout."""
    return any(is_one(arrow_type) for is_one in _BYTES)


def is_list(arrow_type: pa.DataType) -> bool:
    """Whether a type is a list, in any layout."""
    return any(is_one(arrow_type) for is_one in _LISTS)


def is_number(arrow_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(arrow_type):
        return is_number(arrow_type.value_type)
    return bool(
        pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_boolean(arrow_type)
        or pa.types.is_decimal(arrow_type)
        or pa.types.is_null(arrow_type)
    )


def is_flat(arrow_type: pa.DataType) -> bool:
    """Whether the values of a column are stored one by one, independently of other rows: numbers, times, text and
    bytes, but no lists, structs, dictionaries or views."""
    return bool(
        pa.types.is_primitive(arrow_type)
        or pa.types.is_decimal(arrow_type)
        or pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or (is_bytes(arrow_type) and not pa.types.is_binary_view(arrow_type))
    )
