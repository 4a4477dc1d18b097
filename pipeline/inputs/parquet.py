"""Parquet as an input: the footer of a partition, and its record batches in bounded memory. Independent of scalers and
models."""

from collections.abc import Collection, Iterator

import pyarrow as pa

from ..parquet.file import ParquetSource
from ..records import Partition


def read_footer(partition: Partition, columns: Collection[str] | None = None) -> tuple[pa.Schema, int]:
    """The schema and the number of rows.

    Args:
        columns: those that are going to be read (None: all); the types of others may be Arrow's defaults.

    Raises:
        PartitionError: the file is not whole, or its footer is inconsistent.
    """
    with ParquetSource(partition.path, name=partition.name) as source:
        return source.schema(columns), source.num_rows


def read_batches(
    partition: Partition, schema: pa.Schema, *, block_rows: int, first_row: int = 0
) -> Iterator[pa.RecordBatch]:
    """The rows of the columns of `schema`, as `read_footer` gave it, from `first_row` on and in file order.

    Raises:
        PartitionError: the file cannot be read to its end.
    """
    with ParquetSource(partition.path, name=partition.name) as source:
        yield from source.read_batches(schema.names, schema=schema, block_rows=block_rows, first_row=first_row)
