"""Parquet: the footer, and record batches in bounded memory. Knows nothing of scalers or models.

`pre_buffer=False, buffer_size=1 MiB` reads a giant row group through a small window: the defaults hold the
whole of it. No memory maps: a truncated file would be a SIGBUS.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import PartitionError, one_line
from ..records import Partition

#: What pyarrow raises for a file that is broken: all four were seen.
BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError)
WINDOW_BYTES = 1 << 20
#: Decoded at once: enough to keep the reader's overhead small, little enough for tables of 1,000 columns.
BATCH_BYTES, MOST_ROWS = 8 << 20, 1 << 16


def read_footer(partition: Partition) -> tuple[pa.Schema, int]:
    """The schema and the number of rows. Raises PartitionError for a file that is not whole."""
    try:
        with pq.ParquetFile(partition.path) as file:
            return file.schema_arrow.remove_metadata(), file.metadata.num_rows
    except BROKEN as error:
        raise _unreadable(partition, error) from error


def read_batches(partition: Partition, columns: Sequence[str], *, block_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of `columns` in file order, some multiple of `block_rows` at once; page checksums are verified.

    Raises:
        PartitionError: the file cannot be read to its end.
    """
    fitting = min(MOST_ROWS, BATCH_BYTES // (8 * max(1, len(columns))))
    batch_rows = block_rows * max(1, fitting // block_rows)
    try:
        with pq.ParquetFile(
            partition.path, pre_buffer=False, buffer_size=WINDOW_BYTES, page_checksum_verification=True
        ) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=list(columns)):
                yield batch.select(columns)
    except BROKEN as error:
        raise _unreadable(partition, error) from error


def _unreadable(partition: Partition, error: BaseException) -> PartitionError:
    return PartitionError(f"{partition.name}: cannot be read as Parquet: {one_line(error)}", partition=partition.name)
