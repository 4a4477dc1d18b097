"""CSV as an input format."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import TYPE_CHECKING

from ..options import CsvDialect
from ..records import Partition, ReadRows
from .format import Format

if TYPE_CHECKING:
    import pyarrow as pa


class Csv(Format):
    """CSV files. Every cell is text, and the number of rows is known only after reading, which takes most of the
    time."""

    name = "csv"
    suffixes = (".csv", ".csv.gz")
    cells_are_text = True
    has_dialect = True

    def read_schema(
        self,
        partition: Partition,
        dialect: CsvDialect,
        columns: Collection[str] | None = None,  # noqa: ARG002 - all columns are text
    ) -> tuple[pa.Schema, None]:
        """The names in the first row, or those of the dialect."""
        from .csv_rows import read_header  # imports Arrow, which `--help` does not need

        return read_header(partition, dialect), None

    def read_rows(
        self,
        partition: Partition,
        schema: pa.Schema,
        *,
        header: Sequence[str],
        dialect: CsvDialect,
        block_rows: int,  # noqa: ARG002 - the reader reads blocks of bytes
        first_row: int = 0,
        threads: bool = False,  # noqa: ARG002 - one thread parses it
    ) -> Generator[ReadRows]:
        """Always reads from the start."""
        from .csv_rows import read_batches  # imports Arrow, which `--help` does not need

        assert first_row == 0, "a CSV is read from its start"
        return read_batches(partition, schema.names, header=header, dialect=dialect)

    def most_rows(self, partition: Partition) -> int | None:
        """One row per byte, since each row has a line end; None for a compressed file."""
        return None if partition.path.lower().endswith(".gz") else partition.size
