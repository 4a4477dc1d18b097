"""Kinds of Arrow types, as far as features care."""

import pyarrow as pa

_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
#: Bad values of one column of one batch: where, and why.
Problems = list[tuple[int, str]]


def is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds binary values."""
    return any(is_one(kind) for is_one in _BYTES)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return any(is_one(kind) for is_one in _LISTS)


def is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return is_number(kind.value_type)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )
