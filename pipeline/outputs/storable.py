"""The type that a key has in a part file, or why Parquet cannot hold it. Independent of rows."""

from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import ColumnError
from ..nested import takeable, with_wide_indices, without_dictionaries, without_runs


def stored_field(field: pa.Field, *, source: str) -> pa.Field:
    """The field with which a key column is written, with the same name, nullability and metadata.

    Raises:
        ColumnError: Parquet cannot hold its type.
    """
    flat = not pa.types.is_nested(field.type) and not isinstance(field.type, pa.BaseExtensionType)
    if flat and _is_stored_unchanged(field.type):  # the common case; planning checks every file
        return field
    arrow_type = stored_type(field.type)
    problem = _problem(arrow_type.storage_type if isinstance(arrow_type, pa.BaseExtensionType) else arrow_type)
    if problem:
        raise ColumnError(
            f"{source}: column {field.name!r} is {field.type}, and {problem}; cast it when you write the file, or"
            " list the keys to keep with --keys",
            column=field.name,
        )
    return field.with_type(arrow_type)


def stored_type(arrow_type: pa.DataType) -> pa.DataType:
    """The type with which pyarrow writes a column and reads it back with the same values.

    That is the type itself, except for run-end-encoded columns, which become their values; for dictionaries with short
    indices, which get indices of 32 bits; and for types within lists, structs and maps: dictionaries there cannot be
    read back from several row groups, and views cannot be written, so they become values and large types.
    """
    if pa.types.is_nested(arrow_type) or isinstance(arrow_type, pa.BaseExtensionType):
        return takeable(without_dictionaries(arrow_type))
    return with_wide_indices(without_runs(arrow_type))


@lru_cache(maxsize=1024)
def _is_stored_unchanged(arrow_type: pa.DataType) -> bool:
    return stored_type(arrow_type).equals(arrow_type) and not _problem(arrow_type)


@lru_cache(maxsize=1024)
def _problem(arrow_type: pa.DataType) -> str:
    """Why a type cannot be written or read back; empty where it can."""
    if _holds_nothing(arrow_type):
        return "Parquet has no structs without fields and no lists of size 0"
    try:
        with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([pa.field("key", arrow_type)])):
            return ""
    except (pa.ArrowException, OSError):
        return "Parquet cannot store that type"


def _holds_nothing(arrow_type: pa.DataType) -> bool:
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _holds_nothing(arrow_type.storage_type)
    if pa.types.is_struct(arrow_type) and not arrow_type.num_fields:
        return True
    if pa.types.is_fixed_size_list(arrow_type) and not arrow_type.list_size:
        return True
    return any(_holds_nothing(arrow_type.field(index).type) for index in range(arrow_type.num_fields))
