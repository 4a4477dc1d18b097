"""Parquet as an input format."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import TYPE_CHECKING

from ..options import CsvDialect
from ..records import Partition, ReadRows
from .format import Format

if TYPE_CHECKING:
    import pyarrow as pa

#: What Arrow holds of a column while it is read: the window, a dictionary and a page, of 1 MiB each by default.
_COLUMN_BYTES = (1 << 18) + 2 * (1 << 20)
#: The same for all columns of a file whose columns are small, as a multiple of its size.
_TIMES_SIZE = 4


class Parquet(Format):
    """Parquet files: the footer contains the number of rows, and reading can begin at any row."""

    name = "parquet"
    suffixes = (".parquet", ".pq", ".parq")

    def read_schema(
        self,
        partition: Partition,
        dialect: CsvDialect,  # noqa: ARG002 - its cells have types
        columns: Collection[str] | None = None,
    ) -> tuple[pa.Schema, int]:
        """The columns and the number of rows in the footer."""
        from ..parquet.file import ParquetSource  # imports Arrow, which `--help` does not need

        with ParquetSource(partition.path, name=partition.name, etag=partition.etag) as source:
            return source.schema(columns), source.num_rows

    def starts(self, partition: Partition) -> Sequence[int]:
        """The first row of every row group."""
        from ..parquet.file import ParquetSource  # imports Arrow, which `--help` does not need

        with ParquetSource(partition.path, name=partition.name, etag=partition.etag) as source:
            return source.group_starts()

    def reader_bytes(self, partition: Partition, num_columns: int) -> int:
        """In proportion to the columns; less for a small file."""
        return min(num_columns * _COLUMN_BYTES, _TIMES_SIZE * partition.size)

    def read_rows(
        self,
        partition: Partition,
        schema: pa.Schema,
        *,
        header: Sequence[str],  # noqa: ARG002 - columns are found by name
        dialect: CsvDialect,  # noqa: ARG002 - its cells have types
        block_rows: int,
        first_row: int = 0,
        threads: bool = False,
    ) -> Generator[ReadRows]:
        """Reads from `first_row` on."""
        from ..parquet.file import ParquetSource  # imports Arrow, which `--help` does not need

        path, name, etag = partition.path, partition.name, partition.etag
        with ParquetSource(path, name=name, threads=threads, etag=etag) as source:
            for batch in source.read_batches(schema.names, schema=schema, block_rows=block_rows, first_row=first_row):
                yield ReadRows(batch=batch)
