"""Arrow's values as those of Python, for messages and text files. Independent of columns."""

import re
from contextlib import suppress
from typing import Any

import pyarrow as pa

#: What pyarrow raises for values that Python's types cannot hold, and time zones that the system does not know.
_TOO_NARROW = (OverflowError, ValueError, KeyError, pa.ArrowException)


def python_values(array: pa.Array) -> list[Any]:
    """The values of an array as Python objects. Dates and times beyond Python's years 1 to 9999, times of day in
    nanoseconds, and timestamps whose time zone is unknown are text, timestamps in UTC."""
    values: list[Any] | None = None
    if not _has_nanoseconds(array.type):
        with suppress(*_TOO_NARROW):
            values = array.to_pylist()
    return [python_value(value) for value in array] if values is None else values


def python_value(value: Any) -> Any:
    """One scalar, as in `python_values`."""
    if isinstance(value, pa.ExtensionScalar | pa.DictionaryScalar):
        return python_value(value.value)
    if not value.is_valid:
        return None
    if isinstance(value, pa.StructScalar):
        return {name: python_value(inner) for name, inner in value.items()}
    if isinstance(value, pa.MapScalar):
        return [tuple(entry.values()) for entry in python_values(value.values)]
    if pa.types.is_nested(value.type):
        return python_values(value.values)
    if not _has_nanoseconds(value.type):
        with suppress(*_TOO_NARROW):
            return value.as_py()
    if pa.types.is_timestamp(value.type) and value.type.tz is not None:
        value = value.cast(pa.timestamp(value.type.unit, "UTC"))
    if pa.types.is_duration(value.type):
        return f"{value.value} {value.type.unit}"
    text: str = value.cast(pa.string()).as_py()
    return re.sub(r"\.?0+(?=Z?$)", "", text) if "." in text else text


def _has_nanoseconds(arrow_type: pa.DataType) -> bool:
    """Whether a type is, or contains, a time of day in nanoseconds, which Python would cut off."""
    if pa.types.is_dictionary(arrow_type):
        return _has_nanoseconds(arrow_type.value_type)
    if pa.types.is_nested(arrow_type):
        return any(_has_nanoseconds(arrow_type.field(index).type) for index in range(arrow_type.num_fields))
    return bool(arrow_type == pa.time64("ns"))
