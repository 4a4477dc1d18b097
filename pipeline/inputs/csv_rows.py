"""CSV: the header, and record batches in which every column is text. Knows nothing of scalers or models.

Nothing is inferred: inference turns `08123` into 8123 and ids beyond int64 into doubles. Keys stay the text they are;
`check` reads features as numbers, so that a bad cell is one bad row. A row with more or fewer cells than the header is
handed on under its number, as a row that no sense could be made of: dropped, it would shift those behind it. So is a
row whose quotes or escapes cannot be trusted (`quotes.py`).

A quote that is never closed would swallow the rest of a file without an error. So a row has a bound on its bytes, and
every stream is followed by a row of our own: where it does not come back as a row, the file ended inside a quote.
"""

import codecs
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from ..errors import PartitionError, one_line
from ..options import CsvDialect
from ..records import Partition, ReadRows
from .csv_stream import MarkedText, Utf8Check, has_utf16_mark, open_text
from .quotes import RowMarker

BROKEN = (OSError, pa.ArrowException, UnicodeError)
#: What is parsed at once, and the most bytes that a row may have: a row that begins in one block ends in the next.
BLOCK_BYTES = 1 << 20
#: What every cell of the row behind the last one says, unless it is the delimiter.
ENDS = "\x03\x02"
#: How long the reason of a ragged row may be, which shows its cells.
TOLD_CHARACTERS = 250


def read_header(partition: Partition, dialect: CsvDialect) -> pa.Schema:
    """The columns of the first row, or those that the dialect names, all of them text. Raises PartitionError where
    there is none."""
    try:
        with open_text(partition, dialect) as stream:
            start = stream.read(BLOCK_BYTES)
            # A header alone may lack its newline, which Arrow's reader wants. A longer file is read as a stream, which
            # knows that its first block ends within a row.
            short = len(start) < BLOCK_BYTES
            Utf8Check().check(start, last=short)
        if dialect.columns is not None:
            return pa.schema([pa.field(name, pa.string()) for name in dialect.columns])
        marker = RowMarker(dialect, columns=1)
        with open_text(partition, dialect) as stream:
            if short:
                text = pa.BufferReader(marker.mark(start) + marker.at_end())
            else:
                text = pa.PythonFile(MarkedText(stream, marker), mode="r")
            with pacsv.open_csv(text, _reading(dialect), _parsing(dialect, _Ragged(marker))) as reader:
                names = reader.schema.names
        broken = next((reason for name in names if (reason := marker.reason(name)) is not None), None)
        if broken is not None:
            raise PartitionError(
                f"{partition.name}: cannot be read as CSV: the header {told(broken)}; fix its quotes",
                partition=partition.name,
            )
        if len(names) == 1 and start.lstrip(codecs.BOM_UTF8)[:1] in (b"\n", b"\r"):
            raise PartitionError(  # where an empty line may be a row, none can stand before the header
                f"{partition.name}: begins with an empty line, and its header comes behind; remove the line",
                partition=partition.name,
            )
        return pa.schema([pa.field(name, pa.string()) for name in names])
    except BROKEN as error:
        raise _unreadable(partition, dialect, error) from error


def read_batches(
    partition: Partition,
    columns: Sequence[str],
    *,
    header: Sequence[str],
    dialect: CsvDialect,
    nulls: bool = False,
) -> Iterator[ReadRows]:
    """The rows of `columns`, which are among `header`, in file order, as text; an empty cell is an empty string.

    Args:
        nulls: an empty cell is null instead, and only `""` in quotes an empty string.

    Raises:
        PartitionError: the bytes are not text of the dialect's encoding, a row is too long, or a quote is never closed.
    """
    read = list(columns) or list(header[:1])  # without any named, Arrow would read all
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
    end = next(letter for letter in ENDS if letter != dialect.delimiter)
    last_row = dialect.delimiter.join([end] * len(header)).encode()
    # A row of one column may be an empty line.
    parse = _parsing(dialect, ragged, ignore_empty_lines=len(header) > 1)
    row = 0
    try:
        with open_text(partition, dialect) as stream:
            text = pa.PythonFile(MarkedText(stream, marker, last_row), mode="r")
            with pacsv.open_csv(text, _reading(dialect), parse, convert) as reader:
                for batch in _without_end(reader, end):
                    rows = ragged.put_back(batch, row, columns)
                    row += rows.batch.num_rows
                    yield rows
                if ragged.found:
                    yield ragged.put_back(_no_rows(read), row, columns)
                if ragged.found or marker.ends_in_escape:  # a row behind the end mark, or one with it
                    raise _NeverClosed
    except _NeverClosed as error:
        what = "it ends with an escape" if marker.ends_in_escape else "a quote is opened and never closed"
        raise PartitionError(
            f"{partition.name}: cannot be read as CSV: {what}; fix the file", partition=partition.name
        ) from error
    except BROKEN as error:
        raise _unreadable(partition, dialect, error, row) from error


def told(text: str) -> str:
    """The beginning of a text that a message can hold."""
    return text if len(text) <= TOLD_CHARACTERS else text[: TOLD_CHARACTERS - 1] + "…"


class _Ragged:
    """The rows that have more or fewer cells than the header, as Arrow's parser numbers them, marked ones among
    them."""

    def __init__(self, marker: RowMarker, first_row: int = 0) -> None:
        self.found: dict[int, str] = {}
        self._marker = marker
        self._first_row = first_row

    def __call__(self, row: pacsv.InvalidRow) -> str:
        """Arrow's handler of invalid rows."""
        reason = self._marker.reason(row.text)
        if reason is None:
            cells = f"{row.actual_columns} cell{'' if row.actual_columns == 1 else 's'}"
            reason = f"has {cells}, and the header {row.expected_columns}: {row.text}"
        self.found[row.number - self._first_row] = told(reason)
        return "skip"

    def put_back(self, batch: pa.RecordBatch, first_row: int, columns: Sequence[str]) -> ReadRows:
        """Some columns of the rows from `first_row` on, with rows of nulls where the ragged ones stood."""
        here: list[int] = []
        end = first_row + batch.num_rows
        for number in sorted(self.found):  # those of the blocks behind may be known already
            if number > end:
                break
            here.append(number - first_row)
            end += 1
        if not here:
            return ReadRows(batch=batch.select(columns))
        lost = np.zeros(end - first_row, dtype=bool)
        lost[here] = True
        places = pa.array(np.cumsum(~lost) - 1, mask=lost)
        return ReadRows(
            batch=batch.take(places).select(columns),
            unreadable={place: self.found.pop(first_row + place) for place in here},
        )


class _NeverClosed(Exception):  # noqa: N818 - caught where the file is known
    """The end mark did not come back as the last row."""


def _without_end(batches: Iterator[pa.RecordBatch], end: str) -> Iterator[pa.RecordBatch]:
    """The rows before the end mark. Raises _NeverClosed where that is not the last row."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:
            yield batch  # of a block of ragged rows alone
            continue
        if held is not None:
            yield held
        held = batch
    if held is None or any(column[-1].as_py() != end for column in held.columns):
        raise _NeverClosed
    if held.num_rows > 1:
        yield held.slice(0, held.num_rows - 1)


def _no_rows(columns: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], pa.string()) for _ in columns], names=list(columns))


def _reading(dialect: CsvDialect) -> pacsv.ReadOptions:
    """One thread: only then are bad rows numbered."""
    names = None if dialect.columns is None else list(dialect.columns)
    return pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=names)


def _parsing(dialect: CsvDialect, ragged: _Ragged, *, ignore_empty_lines: bool = True) -> pacsv.ParseOptions:
    """Quoted and escaped newlines belong to a value."""
    return pacsv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote or False,
        escape_char=dialect.escape or False,
        newlines_in_values=bool(dialect.quote or dialect.escape),
        invalid_row_handler=ragged,
        ignore_empty_lines=ignore_empty_lines,
    )


def _unreadable(
    partition: Partition, dialect: CsvDialect, error: BaseException, row: int | None = None
) -> PartitionError:
    reason = one_line(error)
    if "straddling" in reason:
        where = "the header, or the first row," if row is None else f"a row behind row {row}"
        reason = f"{where} is longer than {BLOCK_BYTES >> 20} MiB, or a quote was never closed"
    elif isinstance(error, UnicodeError):
        meant = "utf-16" if has_utf16_mark(partition) else "latin-1"
        reason = (
            f'it is not {dialect.encoding} ({reason}); say in the job file what it is, as in [csv] encoding = "{meant}"'
        )
    return PartitionError(f"{partition.name}: cannot be read as CSV: {reason}", partition=partition.name)


def read_text(path: str, columns: Collection[str] | None = None, *, nulls: bool = False) -> pa.Table:
    """A whole file of the usual dialect as text, an empty cell as an empty string.

    Args:
        columns: those to read, all where None. Where the file lacks one, the columns it has come back without rows.
        nulls: as `read_batches` has it.

    Raises:
        PartitionError: it cannot be read, a column is there twice, or no sense can be made of a row; names it.
    """
    dialect = CsvDialect()
    partition = Partition(path=path, name=path, format="csv", size=0, mtime_ns=0)
    header = read_header(partition, dialect)
    names = [name for name in header.names if columns is None or name in columns]
    if set(columns or ()) - set(names):
        return header.empty_table()
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise PartitionError(f"{path}: column {doubled!r} appears more than once; rename one", partition=path)
    batches, first_row = [], 0
    for rows in read_batches(partition, names, header=header.names, dialect=dialect, nulls=nulls):
        if rows.unreadable:
            place = min(rows.unreadable)
            raise PartitionError(
                f"{path}: row {first_row + place} {rows.unreadable[place]}; fix the row", partition=path
            )
        batches.append(rows.batch)
        first_row += rows.batch.num_rows
    return pa.Table.from_batches(batches, pa.schema([header.field(name) for name in names]))
