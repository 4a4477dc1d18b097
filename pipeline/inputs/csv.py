"""CSV: the header, and record batches in which every column is text. Knows nothing of scalers or models.

Nothing is inferred: inference turns `08123` into 8123 and ids beyond int64 into doubles. Keys stay the text
they are; `check` reads features as numbers, so that a bad cell is one bad row.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from ..errors import PartitionError, one_line
from ..records import Partition

BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError)
BLOCK_BYTES = 1 << 20
#: Quoted newlines belong to a value. One thread: only then are bad rows numbered.
PARSE = pacsv.ParseOptions(newlines_in_values=True)
READ = pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)


def read_header(partition: Partition) -> pa.Schema:
    """The columns of the first row, all of them text. Raises PartitionError where there is none."""
    try:
        with _open(partition) as stream:
            start = stream.read(BLOCK_BYTES)
        # A header alone may lack its newline, and a lone header is not enough for Arrow's reader.
        whole = start if len(start) == BLOCK_BYTES else start + b"\n"
        with pacsv.open_csv(pa.BufferReader(whole), READ, PARSE) as reader:
            return pa.schema([pa.field(name, pa.string()) for name in reader.schema.names])
    except BROKEN as error:
        raise _unreadable(partition, error) from error


def read_batches(partition: Partition, columns: Sequence[str], *, header: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of `columns`, which are among `header`, in file order, as text; an empty cell is an empty string.

    Raises:
        PartitionError: a row has more or fewer cells than the header, or the bytes are not UTF-8.
    """
    convert = pacsv.ConvertOptions(
        include_columns=list(columns),
        column_types={name: pa.string() for name in columns},
        strings_can_be_null=False,
        check_utf8=True,
    )
    parse = PARSE
    if len(header) == 1:  # there an empty line is a row with an empty cell
        parse = pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    try:
        with _open(partition) as stream, pacsv.open_csv(stream, READ, parse, convert) as reader:
            for batch in reader:
                if batch.num_rows:
                    yield batch
    except BROKEN as error:
        if "Empty CSV file" in str(error):  # a header alone, which was read before
            return
        raise _unreadable(partition, error) from error


def _open(partition: Partition) -> pa.NativeFile:
    return pa.input_stream(partition.path, compression="gzip" if partition.path.lower().endswith(".gz") else None)


def _unreadable(partition: Partition, error: BaseException) -> PartitionError:
    reason = one_line(error)
    if "straddling" in reason:
        reason = f"a row is longer than {BLOCK_BYTES >> 20} MiB, or a quote was never closed"
    return PartitionError(f"{partition.name}: cannot be read as CSV: {reason}", partition=partition.name)
