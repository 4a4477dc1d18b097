"""The formats of input files: what tells them apart, and what reads their schema and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from ..errors import PartitionError
from ..options import CsvDialect
from ..records import Format, Partition, ReadRows
from . import csv, parquet

SUFFIXES: dict[str, Format] = {
    **dict.fromkeys((".parquet", ".pq", ".parq"), "parquet"),
    **dict.fromkeys((".csv", ".csv.gz"), "csv"),
}

#: One reader of Parquet keeps four cores busy (measured), more only cost memory; most of the work on a CSV is to read
#: it.
CORES_PER_READER = {"parquet": 4, "csv": 1}


def read_rows(
    partition: Partition,
    schema: pa.Schema,
    *,
    header: Sequence[str],
    dialect: CsvDialect,
    block_rows: int,
    first_row: int = 0,
) -> Iterator[ReadRows]:
    """The rows of the columns of `schema` in file order. A CSV has no places to begin at, so `first_row` is 0 there.

    Raises:
        PartitionError: the file cannot be read to its end.
    """
    if partition.format == "csv":
        assert first_row == 0, "a CSV is read from its start"
        return csv.read_batches(partition, schema.names, header=header, dialect=dialect)
    batches = parquet.read_batches(partition, schema, block_rows=block_rows, first_row=first_row)
    return (ReadRows(batch=batch) for batch in batches)


def read_schema(
    partition: Partition, dialect: CsvDialect, columns: set[str] | None
) -> tuple[pa.Schema, int | None] | PartitionError:
    try:
        if partition.format == "csv":
            return csv.read_header(partition, dialect), None
        return parquet.read_footer(partition, columns)
    except PartitionError as error:
        return error


def format_of(name: str) -> Format | None:
    return next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), None)
