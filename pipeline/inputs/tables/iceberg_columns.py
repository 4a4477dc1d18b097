"""Compares the columns of data files with those of an Iceberg table, which identifies columns by their ids, while files
are read by names. Does not import pyiceberg.

The ids are in the footers of the files; files that were added to the table without ids have those of the table's name
mapping (iceberg.apache.org/spec, "Column Projection").
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ...errors import DataError, PartitionError
from ...parquet.file import ParquetSource
from ...storage.folders import Entry
from ..hive import hive_keys

#: Footers that are read at once.
FOOTER_THREADS = 32
_ID = b"PARQUET:field_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumns:
    """The columns of a table. `names`: by id, with dots before those that are nested (`point.x`, `tags.element`);
    `mapping`: the ids of columns in files without ids, by name."""

    table: str
    names: Mapping[int, str]
    mapping: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A data file. `path`: local, or a URI; `partition`: its values by the name of their column, as text."""

    path: str
    partition: Mapping[str, str | None]


def refuse_other_columns(columns: TableColumns, entries: Sequence[Entry], files: Sequence[DataFile]) -> None:
    """Check that reading the files by the names of their columns gives the columns of the table. Reads the footers;
    files that cannot be read are left to the run, which reports them.

    Args:
        entries: the files, in the same order.

    Raises:
        DataError: a column of a file has another name in the table, or none; or a partition column is not in a file,
            and the folders of the file do not have its value.
    """
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        matched = set[bytes]()
        for entry, file, schema in zip(entries, files, pool.map(_footer, entries), strict=True):
            if schema is None:
                continue
            if (shape := schema.serialize().to_pybytes()) not in matched:
                _compare(columns, entry.name, schema)
                matched.add(shape)
            _compare_partition(columns, entry.name, schema, file.partition)


def _footer(entry: Entry) -> pa.Schema | None:
    etag = None if entry.listed is None else entry.listed.etag or None
    try:
        with ParquetSource(entry.path, name=entry.name, etag=etag) as source:
            return source.schema(())
    except PartitionError:
        return None


def _compare(columns: TableColumns, file: str, schema: pa.Schema) -> None:
    """Raise DataError unless every column of a file has its name in the table."""
    has_ids = any(field.metadata and _ID in field.metadata for field in schema)
    for path, field in _paths("", schema):
        if has_ids:
            number = int(field.metadata[_ID]) if field.metadata and _ID in field.metadata else None
        else:
            number = columns.mapping.get(path)
        name = None if number is None else columns.names.get(number)
        if name != path:
            what = (
                "is not a column of it: it was dropped, or has no id"
                if name is None
                else f"is its column {name!r}: it was renamed, or has characters that Iceberg escapes in files"
            )
            raise DataError(
                f"{columns.table}: by its id, column {path!r} of data file {file!r} {what}; score a copy of the table"
            )


def _paths(prefix: str, fields: Any) -> Iterator[tuple[str, pa.Field]]:
    """The fields of a schema or struct, and those nested in them, with the names that Iceberg gives them."""
    for field in fields:
        yield from _below(f"{prefix}{field.name}", field)


def _below(path: str, field: pa.Field) -> Iterator[tuple[str, pa.Field]]:
    yield path, field
    if pa.types.is_struct(field.type):
        yield from _paths(f"{path}.", field.type)
    elif pa.types.is_map(field.type):
        yield from _below(f"{path}.key", field.type.key_field)
        yield from _below(f"{path}.value", field.type.item_field)
    elif pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
        yield from _below(f"{path}.element", field.type.value_field)


def _compare_partition(
    columns: TableColumns, file: str, schema: pa.Schema, partition: Mapping[str, str | None]
) -> None:
    """Raise DataError if a file lacks a partition column, and its folders do not have the value."""
    hive = dict(hive_keys(file))
    for name, value in partition.items():
        if name in schema.names or (name in hive and hive[name] == value):
            continue
        found = repr(hive[name]) if name in hive else "missing"
        raise DataError(
            f"data file {file!r} of {columns.table} has no column {name!r}, whose value is {value!r} in the metadata"
            f" and {found} in its path; score a copy of the table"
        )
