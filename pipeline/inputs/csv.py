"""CSV: the header, and record batches in which every column is text. Knows nothing of scalers or models.

Nothing is inferred: inference turns `08123` into 8123 and ids beyond int64 into doubles. Keys stay the text
they are; `check` reads features as numbers, so that a bad cell is one bad row.

A quote that is never closed would swallow the rest of a file without an error. So every stream is followed by a row of
our own: where it does not come back as a row, the file ended inside a quote.
"""

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from ..errors import PartitionError, one_line
from ..records import Partition

BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError)
BLOCK_BYTES = 1 << 20
#: What every cell of the row behind the last one says.
END = "scoreline: end of the file"
#: Quoted newlines belong to a value. One thread: only then are bad rows numbered.
PARSE = pacsv.ParseOptions(newlines_in_values=True)
READ = pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)


def read_header(partition: Partition) -> pa.Schema:
    """The columns of the first row, all of them text. Raises PartitionError where there is none."""
    try:
        with _open(partition) as stream:
            start = stream.read(BLOCK_BYTES)
        # A header alone may lack its newline, which Arrow's reader wants. A longer file is read as a stream, which
        # knows that its first block ends within a row.
        short = len(start) < BLOCK_BYTES
        with (
            pa.BufferReader(start + b"\n") if short else _open(partition) as stream,
            pacsv.open_csv(stream, READ, PARSE) as reader,
        ):
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
        with _open(partition) as stream:
            ended = pa.PythonFile(_Ended(stream, len(header)), mode="r")
            with pacsv.open_csv(ended, READ, parse, convert) as reader:
                yield from _without_end(reader, partition)
    except BROKEN as error:
        raise _unreadable(partition, error) from error


class _Ended(io.RawIOBase):
    """A stream, and behind it the row that marks its end."""

    def __init__(self, stream: pa.NativeFile, columns: int) -> None:
        super().__init__()
        self._stream = stream
        self._row = ",".join([END] * columns).encode() + b"\n"
        self._last = b"\n"
        self._rest: bytes | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """As `RawIOBase.read`, but never short before the end, since Arrow takes what it gets for a block."""
        data: bytes = b""
        if self._rest is None:
            data = self._stream.read(size if size >= 0 else None)
            self._last = data[-1:] or self._last
            if 0 <= len(data) == size:
                return data
            self._rest = self._row if self._last in (b"\n", b"\r") else b"\n" + self._row
        room = len(self._rest) if size < 0 else size - len(data)
        taken, self._rest = self._rest[:room], self._rest[room:]
        return data + taken


def _without_end(batches: Iterator[pa.RecordBatch], partition: Partition) -> Iterator[pa.RecordBatch]:
    """The rows before the end mark. Raises PartitionError where that is not the last row."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if held is not None:
            yield held
        held = batch
    if held is None or any(column[-1].as_py() != END for column in held.columns):
        raise PartitionError(
            f"{partition.name}: cannot be read as CSV: a quote is opened and never closed; mend the file",
            partition=partition.name,
        )
    if held.num_rows > 1:
        yield held.slice(0, held.num_rows - 1)


def _open(partition: Partition) -> pa.NativeFile:
    return pa.input_stream(partition.path, compression="gzip" if partition.path.lower().endswith(".gz") else None)


def _unreadable(partition: Partition, error: BaseException) -> PartitionError:
    reason = one_line(error)
    if "straddling" in reason:
        reason = f"a row is longer than {BLOCK_BYTES >> 20} MiB, or a quote was never closed"
    return PartitionError(f"{partition.name}: cannot be read as CSV: {reason}", partition=partition.name)
