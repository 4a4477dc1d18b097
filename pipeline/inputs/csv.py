"""CSV as an input."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from ..options import CsvDialect
from ..records import Partition, ReadRows
from .format import Format

if TYPE_CHECKING:
    import pyarrow as pa


class Csv(Format):
    """CSV files: every cell is text, and how many rows there are shows when they are read. Most of the work is to read
    them."""

    name = "csv"
    suffixes = (".csv", ".csv.gz")
    cells_are_text = True
    has_dialect = True

    def read_schema(
        self,
        partition: Partition,
        dialect: CsvDialect,
        columns: Collection[str] | None = None,  # noqa: ARG002 - all are text
    ) -> tuple[pa.Schema, None]:
        """As the first row has them, or the dialect."""
        from .csv_rows import read_header  # Arrow, which `--help` does without

        return read_header(partition, dialect), None

    def read_rows(
        self,
        partition: Partition,
        schema: pa.Schema,
        *,
        header: Sequence[str],
        dialect: CsvDialect,
        block_rows: int,  # noqa: ARG002 - a reader takes a fixed number of bytes at a time
        first_row: int = 0,
    ) -> Iterator[ReadRows]:
        """From the start."""
        from .csv_rows import read_batches  # Arrow, which `--help` does without

        assert first_row == 0, "a CSV is read from its start"
        return read_batches(partition, schema.names, header=header, dialect=dialect)

    def most_rows(self, partition: Partition) -> int | None:
        """A row has a byte at least, its line end; a packed file tells nothing."""
        return None if partition.path.lower().endswith(".gz") else partition.size
