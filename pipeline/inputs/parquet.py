"""Parquet: the footer, and record batches in bounded memory. Knows nothing of scalers or models.

`pre_buffer=False, buffer_size=1 MiB` reads a giant row group through a small window: the defaults hold the
whole of it. No memory maps: a truncated file would be a SIGBUS.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import PartitionError, one_line
from ..nested import without_dictionaries
from ..records import Partition

#: What pyarrow raises for a file that is broken: all four were seen.
BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError)
WINDOW_BYTES = 1 << 20
#: Decoded at once: enough to keep the reader's overhead small, little enough for tables of 1,000 columns.
BATCH_BYTES, MOST_ROWS = 8 << 20, 1 << 16
#: A column of a row group that unpacks to more than this, and to so many times its size, is no table but a bomb.
MOST_UNPACKED_BYTES, MOST_TIMES = 256 << 20, 200


def read_footer(partition: Partition) -> tuple[pa.Schema, int]:
    """The schema and the number of rows. Raises PartitionError for a file that is not whole."""
    try:
        with pq.ParquetFile(partition.path) as file:
            return file.schema_arrow.remove_metadata(), file.metadata.num_rows
    except BROKEN as error:
        raise _unreadable(partition, error) from error


def read_batches(
    partition: Partition, columns: Sequence[str], *, block_rows: int, first_row: int = 0
) -> Iterator[pa.RecordBatch]:
    """The rows of `columns` from `first_row` on, in file order, some multiple of `block_rows` at once; page checksums
    are verified. Row groups before `first_row` are not read; of the one it lies in, the rows before it are read and
    dropped.

    Raises:
        PartitionError: the file cannot be read to its end.
    """
    try:
        with pq.ParquetFile(
            partition.path, pre_buffer=False, buffer_size=WINDOW_BYTES, page_checksum_verification=True
        ) as file:
            _refuse_bombs(partition, file.metadata, set(columns))
            fitting = min(MOST_ROWS, BATCH_BYTES // _row_bytes(file, columns))
            batch_rows = block_rows * max(1, fitting // block_rows)
            groups, passed = _row_groups_from(first_row, file.metadata)
            for together in _read_together(file, columns, groups):
                for batch in file.iter_batches(batch_size=batch_rows, row_groups=together, columns=list(columns)):
                    passed, before = max(0, passed - batch.num_rows), passed
                    if before < batch.num_rows:
                        yield _validated(batch.slice(before).select(columns))
    except BROKEN as error:
        raise _unreadable(partition, error) from error


def _validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Raise ArrowInvalid for text that is no UTF-8: Arrow reads it without a word, and other readers stumble over
    it."""
    for column in batch.columns:
        if not pa.types.is_primitive(column.type):
            column.validate(full=True)
    return batch


def _read_together(file: pq.ParquetFile, columns: Sequence[str], groups: list[int]) -> list[list[int]]:
    """Row groups, of which each list is read as one: Arrow joins no dictionaries that lie within lists, structs or
    maps."""
    kinds = [field.type for field in file.schema_arrow if field.name in set(columns) and pa.types.is_nested(field.type)]
    alone = any(not without_dictionaries(kind).equals(kind) for kind in kinds)
    return [[group] for group in groups] if alone else [groups]


def _row_groups_from(first_row: int, metadata: pq.FileMetaData) -> tuple[list[int], int]:
    """The row groups that hold rows from `first_row` on, and how many rows of the first come before it."""
    start = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if first_row < start + rows:
            return list(range(group, metadata.num_row_groups)), first_row - start
        start += rows
    return [], 0


def _row_bytes(file: pq.ParquetFile, columns: Sequence[str]) -> int:
    """What a row takes: eight bytes a column, or, where some hold lists, text or images, as much as all columns of the
    file take on average in the row group that has the largest. Single columns are not asked: of encrypted ones Arrow
    cannot tell, and takes the process down."""
    most = 8 * max(1, len(columns))
    kinds = {field.name: field.type for field in file.schema_arrow}
    if all(pa.types.is_primitive(kinds[name]) for name in columns):
        return most
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    sizes = [int(group.total_byte_size) // max(1, int(group.num_rows)) for group in groups]
    return max([most, *sizes])


def _refuse_bombs(partition: Partition, metadata: pq.FileMetaData, columns: set[str]) -> None:
    """Raise PartitionError for a few bytes that would unpack to gigabytes; the footer tells before a page is read."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.total_byte_size <= MOST_UNPACKED_BYTES:
            continue
        for place in range(group.num_columns):
            column = group.column(place)
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            if (
                column.path_in_schema.split(".")[0] in columns
                and unpacked > MOST_UNPACKED_BYTES
                and unpacked > MOST_TIMES * max(1, packed)
            ):
                raise PartitionError(
                    f"{partition.name}: column {column.path_in_schema!r} of row group {number} says that {packed:,}"
                    f" bytes unpack to {unpacked:,}; a file like that would fill the memory, so it is not read",
                    partition=partition.name,
                )


def _unreadable(partition: Partition, error: BaseException) -> PartitionError:
    return PartitionError(f"{partition.name}: cannot be read as Parquet: {one_line(error)}", partition=partition.name)
