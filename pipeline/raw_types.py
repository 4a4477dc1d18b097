"""The types of raw columns: Arrow types ↔ their records in a bundle, and which types of a file fit a record.
Independent of values and files.
"""

import pyarrow as pa

from ..schemas.arrow_types import ArrowField, ArrowType
from .arrow_types import is_bytes, is_list, is_text
from .nested import takeable, without_dictionaries

_PLAIN: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "text": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
}
_NAMES = {arrow_type: name for name, arrow_type in _PLAIN.items()}


def recorded_type(arrow_type: pa.DataType) -> ArrowType:
    """The record of a type.

    Raises:
        ValueError: columns of that type cannot be raw.
    """
    plain = without_layout(arrow_type)
    if plain in _NAMES:
        return ArrowType(kind=_NAMES[plain])
    if pa.types.is_decimal(plain) and plain.precision <= 38 and 0 <= plain.scale <= plain.precision:
        return ArrowType(kind="decimal", precision=plain.precision, scale=plain.scale)
    if pa.types.is_time(plain):
        return ArrowType(kind="time", unit="ns" if plain.unit == "ns" else "us")
    if pa.types.is_timestamp(plain):
        return ArrowType(kind="timestamp", unit="ns" if plain.unit == "ns" else "us", zoned=plain.tz is not None)
    if is_list(plain):
        return ArrowType(kind="list", fields=[ArrowField(name="item", type=recorded_type(plain.value_type))])
    if pa.types.is_struct(plain):
        return ArrowType(kind="struct", fields=[ArrowField(name=f.name, type=recorded_type(f.type)) for f in plain])
    raise ValueError(f"{arrow_type} is not supported")


def arrow_of(record: ArrowType) -> pa.DataType:
    """The Arrow type of a record."""
    if record.kind in _PLAIN:
        return _PLAIN[record.kind]
    match record.kind:
        case "decimal":
            return pa.decimal128(record.precision, record.scale)
        case "time":
            return pa.time64(record.unit)
        case "timestamp":
            return pa.timestamp(record.unit, "UTC" if record.zoned else None)
        case "list":
            return pa.list_(arrow_of(record.fields[0].type))
    return pa.struct([pa.field(field.name, arrow_of(field.type)) for field in record.fields])


def without_layout(arrow_type: pa.DataType) -> pa.DataType:
    """The type without dictionaries, runs and views; text, bytes, half floats and dates as one type each."""
    plain = takeable(without_dictionaries(takeable(arrow_type)))
    if isinstance(plain, pa.BaseExtensionType):
        return without_layout(plain.storage_type)
    if is_text(plain):
        return pa.string()
    if is_bytes(plain):
        return pa.binary()
    if plain == pa.float16():
        return pa.float32()
    return pa.date32() if plain == pa.date64() else plain


def fits(arrow_type: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column of a file can have the values of a raw column of type `wanted`. A single value may still not
    fit, such as an integer that is too large."""
    plain = without_layout(arrow_type)
    if pa.types.is_null(plain) or plain.equals(wanted):
        return True
    if pa.types.is_integer(wanted):
        return bool(pa.types.is_integer(plain))
    if pa.types.is_float64(wanted):
        return bool(pa.types.is_integer(plain) or pa.types.is_floating(plain))
    if pa.types.is_decimal(wanted):
        return bool(pa.types.is_decimal(plain) or pa.types.is_integer(plain))
    if pa.types.is_time(wanted):
        return bool(pa.types.is_time(plain))
    if pa.types.is_timestamp(wanted):
        return bool(pa.types.is_timestamp(plain)) and (plain.tz is None) == (wanted.tz is None)
    if is_list(wanted):
        return is_list(plain) and fits(plain.value_type, wanted.value_type)
    if pa.types.is_struct(wanted) and pa.types.is_struct(plain):
        mine, theirs = list(plain), list(wanted)
        return [f.name for f in mine] == [f.name for f in theirs] and all(
            fits(one.type, other.type) for one, other in zip(mine, theirs, strict=True)
        )
    return False


def is_nested(arrow_type: pa.DataType) -> bool:
    """Whether values are lists or structs."""
    return is_list(arrow_type) or bool(pa.types.is_struct(arrow_type))
