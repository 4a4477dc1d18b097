"""The type that a key has in a part file, or why Parquet cannot hold it. Independent of rows."""

from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import ColumnError
from ..nested import takeable, without_dictionaries, without_runs


def stored_field(field: pa.Field, *, source: str) -> pa.Field:
    """A key column as it is written, its name, nullability and metadata unchanged.

    Raises:
        ColumnError: Parquet cannot hold its type.
    """
    flat = not pa.types.is_nested(field.type) and not isinstance(field.type, pa.BaseExtensionType)
    if flat and _is_stored_as_it_is(field.type):  # what most are; a plan asks for every file
        return field
    kind = storable(field.type)
    problem = _problem(kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind)
    if problem:
        raise ColumnError(
            f"{source}: column {field.name!r} is {field.type}, and {problem}; cast it where the file is written, or"
            " name the keys to keep with --keys",
            column=field.name,
        )
    return field.with_type(kind)


def storable(kind: pa.DataType) -> pa.DataType:
    """The type that pyarrow writes and reads back as it was, with the same values.

    That is the type itself, but for run-end-encoded columns, which become their values, and what lies within lists,
    structs and maps: dictionaries there cannot be read back from several row groups, and views not written, so they
    become values and large types.
    """
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return takeable(without_dictionaries(kind))
    return without_runs(kind)


@lru_cache(maxsize=1024)
def _is_stored_as_it_is(kind: pa.DataType) -> bool:
    return storable(kind).equals(kind) and not _problem(kind)


@lru_cache(maxsize=1024)
def _problem(kind: pa.DataType) -> str:
    """Why a type cannot be written, or read back; empty where it can."""
    if _holds_nothing(kind):
        return "Parquet has no structs without fields and no lists of size 0"
    try:
        with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([pa.field("key", kind)])):
            return ""
    except (pa.ArrowException, OSError):
        return "Parquet cannot hold that"


def _holds_nothing(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_nothing(kind.storage_type)
    if pa.types.is_struct(kind) and not kind.num_fields:
        return True
    if pa.types.is_fixed_size_list(kind) and not kind.list_size:
        return True
    return any(_holds_nothing(kind.field(place).type) for place in range(kind.num_fields))
