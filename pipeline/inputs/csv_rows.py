"""Reads the header and rows of CSV files; every column is text. Independent of features and models.

Types are not inferred: inference turns `08123` into 8123 and ids above int64 into doubles. Keys remain text; `check`
parses features as numbers, so that a bad cell is one bad row. A row with more or fewer cells than the header is kept
under its number as an unreadable row: dropping it would shift the rows after it. So is a row whose quotes or escapes
are ambiguous (`quotes.py`).

A quote that is never closed would swallow the rest of a file without an error. Therefore the bytes of a row are
limited, and an end mark is appended to every stream as one more row: if it is not the last row read, the file ended
inside a quote.
"""

import codecs
import csv
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from ..arrays import to_arrow
from ..errors import PartitionError, changed_error, one_line
from ..options import CsvDialect
from ..records import Partition, ReadRows
from ..storage.uris import ChangedError
from .csv_stream import LongRowError, MarkedText, Utf8Check, advice_on_bytes, open_text
from .quotes import RowMarker

BROKEN = (OSError, pa.ArrowException, UnicodeError, LongRowError)
#: A longer first line is parsed by Arrow: Python limits the length of a cell.
MOST_PLAIN_BYTES = 1 << 16
#: Bytes parsed at once; a row may be twice as long.
BLOCK_BYTES = 1 << 20
#: The contents of every cell of the end mark; the second one is used if the first is the delimiter.
END_CELLS = "\x03\x02"
#: The longest reason of a ragged row, which shows its cells.
REASON_CHARACTERS = 250


def read_header(partition: Partition, dialect: CsvDialect) -> pa.Schema:
    """The columns in the first row, or those of the dialect, as text. Raises PartitionError if there is no header."""
    try:
        with open_text(partition, dialect) as stream:
            start = stream.read(BLOCK_BYTES)
            # A lone header may lack its newline, which Arrow's reader requires. A longer file is read as a stream,
            # whose first block may end within a row.
            short = len(start) < BLOCK_BYTES
            Utf8Check().check(start, last=short)
        if dialect.columns is not None:
            return pa.schema([pa.field(name, pa.string()) for name in dialect.columns])
        if short and (plain := _plain_names(start, dialect)) is not None:
            return pa.schema([pa.field(name, pa.string()) for name in plain])
        marker = RowMarker(dialect, columns=1)
        if short:
            marked = marker.mark(start) + marker.at_end()
        else:
            with open_text(partition, dialect) as stream:
                marked = MarkedText(stream, marker).next_block(BLOCK_BYTES)
            marked += b"" if marked.endswith((b"\n", b"\r")) else b"\n"
        names = _names(marked, dialect, marker)
        broken = next((reason for name in names if (reason := marker.reason(name)) is not None), None)
        if broken is not None:
            raise PartitionError(
                f"{partition.name}: cannot be read as CSV: the header {shortened(broken)}; fix its quotes",
                partition=partition.name,
            )
        if len(names) == 1 and start.lstrip(codecs.BOM_UTF8)[:1] in (b"\n", b"\r"):
            raise PartitionError(  # with one column an empty line is a row, so it cannot precede the header
                f"{partition.name}: begins with an empty line before the header; remove the line",
                partition=partition.name,
            )
        return pa.schema([pa.field(name, pa.string()) for name in names])
    except BROKEN as error:
        raise _unreadable(partition, dialect, error) from error


def _names(text: bytes, dialect: CsvDialect, marker: RowMarker) -> list[str]:
    """The names in the first row, in which the marker may have marked an ambiguous quote."""
    reading, parsing = _reading(dialect, len(text)), _parsing(dialect, _Ragged(marker))
    with pacsv.open_csv(pa.BufferReader(text), reading, parsing) as reader:
        return list(reader.schema.names)


def _plain_names(text: bytes, dialect: CsvDialect) -> list[str] | None:
    """The names in the first line, if it is certain to be the header; None otherwise. Arrow would infer the types of
    all rows, which for a small file takes longer than reading it (measured)."""
    found = _plain_header(dialect).match(text)
    line = b"" if found is None else found[0].removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
    if not line.strip() or len(line) > MOST_PLAIN_BYTES:
        return None
    lines, delimiter = [line.decode()], dialect.delimiter
    if not dialect.quote:
        return next(csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))
    return next(csv.reader(lines, delimiter=delimiter, quotechar=dialect.quote))


@lru_cache(maxsize=8)
def _plain_header(dialect: CsvDialect) -> re.Pattern[bytes]:
    """Matches a line of cells without quotes, and of quoted cells with nothing else in them."""
    quote, escape = re.escape(dialect.quote.encode()), re.escape(dialect.escape.encode())
    delimiter = re.escape(dialect.delimiter.encode())
    plain = b"[^\\r\\n" + quote + escape + delimiter + b"]*"
    cell = b"(?:" + quote + b"[^\\r\\n" + quote + escape + b"]*" + quote + b"|" + plain + b")" if quote else plain
    return re.compile(cell + b"(?:" + delimiter + cell + b")*(?:\\r\\n?|\\n)")


def read_batches(
    partition: Partition,
    columns: Sequence[str],
    *,
    header: Sequence[str],
    dialect: CsvDialect,
    nulls: bool = False,
) -> Generator[ReadRows]:
    """The rows of some columns of `header`, in file order, as text. An empty cell is an empty string.

    Args:
        nulls: read an empty cell as null, and only a quoted `""` as an empty string.

    Raises:
        PartitionError: the bytes are not text of the dialect's encoding, a row is too long, or a quote is never closed.
    """
    read = list(columns) or list(header[:1])  # without a list, Arrow would read all columns
    convert = pacsv.ConvertOptions(
        include_columns=read,
        column_types={name: pa.string() for name in read},
        strings_can_be_null=nulls,
        quoted_strings_can_be_null=False,
        null_values=[""],
        check_utf8=False,  # the whole stream is checked
    )
    marker = RowMarker(dialect, len(header))
    ragged = _Ragged(marker, first_row=1 if dialect.columns is not None else 2)
    end = next(letter for letter in END_CELLS if letter != dialect.delimiter)
    last_row = dialect.delimiter.join([end] * len(header)).encode()
    # With one column, an empty line is a row.
    parse = _parsing(dialect, ragged, ignore_empty_lines=len(header) > 1)
    row = 0
    try:
        with open_text(partition, dialect) as stream:
            marked = MarkedText(stream, marker, last_row)
            whole = marked.whole(BLOCK_BYTES)  # from memory, a small file is read in half the time (measured)
            text = pa.PythonFile(marked, mode="r") if whole is None else pa.BufferReader(whole)
            with marked.errors(), pacsv.open_csv(text, _reading(dialect), parse, convert) as reader:
                for batch in _without_end(reader, end):
                    rows = ragged.put_back(batch, row, columns)
                    row += rows.batch.num_rows
                    yield rows
                if ragged.found:
                    rows = ragged.put_back(_no_rows(read), row, columns)
                    row += rows.batch.num_rows
                    yield rows
                if ragged.found or marker.ends_in_escape:  # a row after the end mark, or in the same row
                    raise _NeverClosed(0)
    except _NeverClosed as error:
        last = row + error.unread + len(ragged.found) - 1
        what = "ends with an escape" if marker.ends_in_escape else "opens a quote that is never closed"
        raise PartitionError(
            f"{partition.name}: cannot be read as CSV: row {last} {what}; fix the row", partition=partition.name
        ) from error
    except BROKEN as error:
        raise _unreadable(partition, dialect, error, row) from error


def shortened(text: str) -> str:
    """A text cut to the length of a reason."""
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"


class _Ragged:
    """Collects the rows with more or fewer cells than the header, including marked ones, by their row number."""

    def __init__(self, marker: RowMarker, first_row: int = 0) -> None:
        self.found: dict[int, str] = {}
        self._marker = marker
        self._first_row = first_row

    def __call__(self, row: pacsv.InvalidRow) -> str:
        """Arrow's handler of invalid rows."""
        reason = self._marker.reason(row.text)
        if reason is None:
            cells = f"{row.actual_columns} cell{'' if row.actual_columns == 1 else 's'}"
            reason = f"has {cells}, but the header has {row.expected_columns}: {row.text}"
        self.found[row.number - self._first_row] = shortened(reason)
        return "skip"

    def put_back(self, batch: pa.RecordBatch, first_row: int, columns: Sequence[str]) -> ReadRows:
        """Some columns of the rows from `first_row` on, with rows of nulls in place of the ragged rows."""
        here: list[int] = []
        end = first_row + batch.num_rows
        for number in sorted(self.found):  # may include rows of later blocks
            if number > end:
                break
            here.append(number - first_row)
            end += 1
        if not here:
            return ReadRows(batch=batch.select(columns))
        lost = np.zeros(end - first_row, dtype=bool)
        lost[here] = True
        indices = to_arrow(np.cumsum(~lost) - 1, ~lost)
        return ReadRows(
            batch=batch.take(indices).select(columns),
            unreadable={position: self.found.pop(first_row + position) for position in here},
        )


class _NeverClosed(Exception):  # noqa: N818 - internal, caught in this module
    """The end mark did not come back as the last row, so it is part of that row. `unread`: the rows up to it that were
    parsed and not returned, without ragged rows."""

    def __init__(self, unread: int) -> None:
        super().__init__(unread)
        self.unread = unread


def _without_end(batches: Iterator[pa.RecordBatch], end: str) -> Iterator[pa.RecordBatch]:
    """The rows before the end mark. Raises _NeverClosed if the end mark is not the last row."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:
            yield batch  # a block of only ragged rows
            continue
        if held is not None:
            yield held
        held = batch
    if held is None or any(column[-1].as_py() != end for column in held.columns):
        raise _NeverClosed(0 if held is None else held.num_rows)
    if held.num_rows > 1:
        yield held.slice(0, held.num_rows - 1)


def _no_rows(columns: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, pa.string()) for _ in columns], names=list(columns))


def _reading(dialect: CsvDialect, block_bytes: int = 0) -> pacsv.ReadOptions:
    """Uses one thread, since only then are bad rows numbered."""
    names = None if dialect.columns is None else list(dialect.columns)
    return pacsv.ReadOptions(use_threads=False, block_size=max(BLOCK_BYTES, block_bytes), column_names=names)


def _parsing(dialect: CsvDialect, ragged: _Ragged, *, ignore_empty_lines: bool = True) -> pacsv.ParseOptions:
    """Quoted and escaped newlines are part of a value: blocks end where rows do."""
    return pacsv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote or False,
        escape_char=dialect.escape or False,
        newlines_in_values=False,
        invalid_row_handler=ragged,
        ignore_empty_lines=ignore_empty_lines,
    )


def _unreadable(
    partition: Partition, dialect: CsvDialect, error: BaseException, row: int | None = None
) -> PartitionError:
    if isinstance(error, ChangedError):
        return changed_error(partition.name)
    reason = one_line(error)
    if isinstance(error, LongRowError):
        where = "the header or the first row" if row is None else f"row {row} or one after it"
        reason = (
            f"{where} is longer than {BLOCK_BYTES >> 19} MiB, which only Parquet files can have, or a quote was never"
            " closed"
        )
    elif isinstance(error, UnicodeError):
        reason = f"it is not {dialect.encoding} ({reason}); {advice_on_bytes(partition, dialect)}"
    return PartitionError(f"{partition.name}: cannot be read as CSV: {reason}", partition=partition.name)


def read_text(path: str, columns: Collection[str] | None = None, *, nulls: bool = False) -> pa.Table:
    """A whole file in the default dialect, as text. An empty cell is an empty string.

    Args:
        columns: the columns to read (None: all). If the file lacks one, its columns are returned without rows.
        nulls: see `read_batches`.

    Raises:
        PartitionError: the file or a row cannot be read, or a column appears more than once; names it.
    """
    dialect = CsvDialect()
    partition = Partition(path=path, name=path, format="csv", size=0, mtime_ns=0)
    header = read_header(partition, dialect)
    names = [name for name in header.names if columns is None or name in columns]
    if set(columns or ()) - set(names):
        return header.empty_table()
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise PartitionError(f"{path}: column {duplicate!r} appears more than once; rename one", partition=path)
    batches, first_row = [], 0
    for rows in read_batches(partition, names, header=header.names, dialect=dialect, nulls=nulls):
        if rows.unreadable:
            position = min(rows.unreadable)
            raise PartitionError(
                f"{path}: row {first_row + position} {rows.unreadable[position]}; fix the row", partition=path
            )
        batches.append(rows.batch)
        first_row += rows.batch.num_rows
    return pa.Table.from_batches(batches, pa.schema([header.field(name) for name in names]))
