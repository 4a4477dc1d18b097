"""CSV cells are read as unchanged text; Python's csv module is the reference."""

import csv
import gzip
import io
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from time import sleep

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.inputs import csv_rows
from scoreline.pipeline.inputs.csv_rows import read_batches, read_header
from scoreline.pipeline.inputs.csv_stream import MarkedText
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.inputs.quotes import RowMarker
from scoreline.pipeline.options import CsvDialect
from scoreline.pipeline.records import Partition

COMMA = CsvDialect()


def partition(path: Path) -> Partition:
    """The file as a partition."""
    (found,) = discover(str(path), format="csv").partitions
    return found


def header(path: Path, dialect: CsvDialect = COMMA) -> list[str]:
    """The names of the columns."""
    return list(read_header(partition(path), dialect).names)


def read(
    path: Path, columns: list[str] | None = None, dialect: CsvDialect = COMMA
) -> tuple[list[tuple[str, ...]], dict[int, str]]:
    """All rows as tuples of text, and the reasons of ragged rows by row number."""
    names = header(path, dialect)
    found: list[tuple[str, ...]] = []
    ragged: dict[int, str] = {}
    for read in read_batches(partition(path), columns or names, header=names, dialect=dialect):
        ragged.update({len(found) + position: reason for position, reason in read.unreadable.items()})
        found += [tuple(row[name] for name in columns or names) for row in read.batch.to_pylist()]
    return found, ragged


def rows(path: Path, columns: list[str] | None = None) -> list[tuple[str, ...]]:
    """All rows of a file without ragged rows."""
    found, ragged = read(path, columns)
    assert not ragged
    return found


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=12)


@given(table=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=20), crlf=st.booleans(), bom=st.booleans())
def test_text_is_unchanged(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]], crlf: bool, bom: bool
) -> None:
    """Quotes, commas, newlines inside quotes, CRLF, BOM: written by Python's csv, read back equal."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n" if crlf else "\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b", "c"), *table])
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())
    assert header(path) == ["a", "b", "c"]
    assert rows(path, ["a", "b", "c"]) == table


def test_ids_stay_text_and_columns_have_the_requested_order(tmp_path: Path) -> None:
    """Types are not inferred."""
    (tmp_path / "a.csv").write_text("id,x,y\n08123,1,2\nNA,null,\n99999999999999999999,1.50,x\n")
    assert rows(tmp_path / "a.csv", ["y", "id"]) == [("2", "08123"), ("", "NA"), ("x", "99999999999999999999")]


def test_gzip(tmp_path: Path) -> None:
    """Compressed files are decompressed."""
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert rows(tmp_path / "a.csv.gz", ["a", "b"]) == [("1", "2")]


@pytest.mark.parametrize("data", ["é,ä\n1,2\n".encode("latin-1"), b"a,b\n\xe9\xff,1\n", "a,b\n1,2\n".encode("utf-16")])
def test_bytes_that_are_not_utf8_are_refused_with_a_hint(tmp_path: Path, data: bytes) -> None:
    """C3: in the header and in rows."""
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(PartitionError, match=r"a\.csv: cannot be read as CSV: it is not utf-8.*\[csv\] encoding = "):
        rows(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("data", "encoding", "advice"),
    [
        ("a,b\né,2\n".encode("latin-1"), "utf-8", 'encoding = "latin-1"'),
        ("a,b\nZürich,2\nKraków".encode()[:-2], "utf-8", "it is truncated or damaged there"),
        ("a,b\nŁódź,2\n".encode() + b"\xff,3\n", "utf-8", "it is truncated or damaged there"),
        (("a,b\n" + "1,2\n" * 40_000 + "Łódź,2\n" * 99).encode()[:-4], "utf-8", "it is truncated or damaged there"),
        (("a,b\n" + "1,2\n" * 40_000 + "é,2\n" * 99).encode("latin-1"), "utf-8", 'encoding = "latin-1"'),
        ("a,b\né,2\n".encode(), "ascii", 'encoding = "utf-8"'),
        ("a,b\né,2\n".encode("latin-1"), "ascii", 'encoding = "latin-1"'),
        ("a,b\n1,2\n".encode("utf-32"), "utf-8", 'encoding = "utf-32"'),
        ("a,b\n1,2\n".encode("utf-16"), "utf-8", 'encoding = "utf-16"'),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "utf-16", "it is truncated or damaged there"),
        ("a,b\né,2\n".encode("latin-1"), "cp932", "has another encoding"),
    ],
)
def test_what_to_do_about_bytes(tmp_path: Path, data: bytes, encoding: str, advice: str) -> None:
    """Another encoding is only suggested where the file may have it."""
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(PartitionError) as raised:
        read(tmp_path / "a.csv", ["a"], dialect=CsvDialect(encoding=encoding))
    assert advice in str(raised.value)


def test_ragged_rows_keep_their_numbers(tmp_path: Path) -> None:
    """C2: returned as rows of nulls, so that the rows after them do not shift."""
    (tmp_path / "a.csv").write_text('a,b\n1,2\n3\n"x\ny",5\n\n6,7,8\n9,"q\n\nr"\n4,5,6\n')
    found, ragged = read(tmp_path / "a.csv")
    assert found == [("1", "2"), (None, None), ("x\ny", "5"), (None, None), ("9", "q\n\nr"), (None, None)]
    assert ragged == {
        1: "has 1 cell, but the header has 2: 3",
        3: "has 3 cells, but the header has 2: 6,7,8",
        5: "has 3 cells, but the header has 2: 4,5,6",
    }


def test_only_ragged_rows(tmp_path: Path) -> None:
    """A file without any valid row."""
    (tmp_path / "a.csv").write_text("a,b\n" + "1\n" * 5)
    found, ragged = read(tmp_path / "a.csv")
    assert found == [(None, None)] * 5
    assert list(ragged) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("dialect", "data", "expected"),
    [
        (CsvDialect(delimiter=";"), b'a;b\n1,5;"x;y"\n', [("1,5", "x;y")]),
        (CsvDialect(delimiter="\t"), b"a\tb\n1\t2\n", [("1", "2")]),
        (CsvDialect(quote="'"), b"a,b\n'1,2',\"\n", [("1,2", '"')]),
        (CsvDialect(quote=""), b'a,b\n"1,2"\n', [('"1', '2"')]),
        (CsvDialect(encoding="latin-1"), "a,b\né,2\n".encode("latin-1"), [("é", "2")]),
        (CsvDialect(encoding="cp1252"), "a,b\n€,2\n".encode("cp1252"), [("€", "2")]),
        (CsvDialect(encoding="utf-16"), "a,b\né,€\n".encode("utf-16"), [("é", "€")]),
        (CsvDialect(encoding="utf-16-le"), "a,b\né,€".encode("utf-16-le"), [("é", "€")]),
        (CsvDialect(columns=("a", "b")), b"1,2\n3,4\n", [("1", "2"), ("3", "4")]),
        (CsvDialect(columns=("a", "b")), b"\xef\xbb\xbf1,2", [("1", "2")]),
    ],
)
def test_declared_dialects(tmp_path: Path, dialect: CsvDialect, data: bytes, expected: list[tuple[str, ...]]) -> None:
    """C6: the dialect in the job file is used."""
    (tmp_path / "a.csv").write_bytes(data)
    assert read(tmp_path / "a.csv", dialect=dialect) == (expected, {})


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """The message names the configured encoding."""
    (tmp_path / "a.csv").write_bytes("a,b\né,2\n".encode("latin-1"))
    with pytest.raises(PartitionError, match="it is not utf-16"):
        read(tmp_path / "a.csv", dialect=CsvDialect(encoding="utf-16"))


def test_an_open_quote_cannot_swallow_a_file(tmp_path: Path) -> None:
    """C2, C7: the bytes of rows and lines are limited."""
    (tmp_path / "a.csv").write_text('a,b\n1,2\n"' + "x,y\n" * 1_000_000 + '"\n')
    with pytest.raises(
        PartitionError, match=r"row \d+ or one after it is longer than 2 MiB, which .* or a quote was never closed"
    ):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n" + "x" * 10_000_000 + ",2\n")
    with pytest.raises(PartitionError, match="longer than 2 MiB"):
        read(tmp_path / "a.csv")


def outcome(path: Path, dialect: CsvDialect) -> list[str] | str:
    """The header of a file, or the error."""
    try:
        return header(path, dialect)
    except PartitionError as error:
        return str(error)


@pytest.mark.parametrize("dialect", [COMMA, CsvDialect(escape="\\"), CsvDialect(delimiter=";", quote="")])
@given(
    start=st.sampled_from(["", "\ufeff"]), text=st.text('a",;\\ \n\ré', min_size=1, max_size=20), whole=st.booleans()
)
@example(start="", text='"a","b"\n1,"', whole=True)
def test_the_first_line_has_the_header(
    tmp_path_factory: pytest.TempPathFactory, dialect: CsvDialect, start: str, text: str, whole: bool
) -> None:
    """Where only that line is parsed, the header is the same as by parsing all of a file."""
    path = tmp_path_factory.mktemp("header") / "a.csv"
    path.write_bytes((start + text + "\n" * whole).encode())
    found = outcome(path, dialect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_plain_names", lambda *_: None)
        assert found == outcome(path, dialect)


def test_a_long_line_without_a_header_is_looked_at_once(tmp_path: Path) -> None:
    """Not for each way in which its cells could be divided."""
    for dialect in (COMMA, CsvDialect(quote="")):
        (tmp_path / "a.csv").write_text("a," * 50_000)
        assert len(header(tmp_path / "a.csv", dialect)) == 50_001


def test_header_only(tmp_path: Path) -> None:
    """No rows, and no error."""
    (tmp_path / "a.csv").write_text("a,b\n")
    assert header(tmp_path / "a.csv") == ["a", "b"]
    assert rows(tmp_path / "a.csv", ["a", "b"]) == []


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', 0),
        ('a,b\n1,"x', 0),
        ('a,b\n1,x\n"2,y\n', 1),
        ('a,b\n1,x\n2,"y""\n', 1),
        ('a,b\n1,x\n2,3,4\n5,"y\n', 2),
        ('a,b\n1,"x\ny"\n\n2,3,"4\n', 1),
        ('a,b\n1\n"2\n', 1),
        ('a\n1\n"', 1),
    ],
)
def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path, text: str, row: int) -> None:
    """C2: it would swallow the rest of the file into one cell."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(PartitionError, match=f"row {row} opens a quote that is never closed; fix the row"):
        rows(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,b\n5" pipe,x\n', [('5" pipe', "x")]),
        ('a,b\n1,"x\ny"', [("1", "x\ny")]),
        ("a,b\r\n1,2\r\n", [("1", "2")]),
        ("a,b\n1,2", [("1", "2")]),
        ("a\n1\n\n3\n", [("1",), ("",), ("3",)]),
        ("a\n1\n\n", [("1",), ("",)]),
        ("a,b\n1,2\n\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
    ],
)
def test_the_end_of_a_file_adds_and_removes_no_row(tmp_path: Path, text: str, expected: list[tuple[str, ...]]) -> None:
    """With or without a final newline, empty lines, and single quotes inside a cell."""
    (tmp_path / "a.csv").write_text(text, newline="")
    assert rows(tmp_path / "a.csv") == expected


def test_files_of_many_blocks(tmp_path: Path) -> None:
    """Rows across the blocks of the reader, with quotes and newlines."""
    table = [(str(n), f'note "{n}",\n{"x" * (n % 97)}', f"{n / 7:.17g}") for n in range(60_000)]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "note", "x"), *table])
    assert (tmp_path / "a.csv").stat().st_size > 4 << 20
    assert header(tmp_path / "a.csv") == ["id", "note", "x"]
    assert rows(tmp_path / "a.csv", ["id", "note", "x"]) == table


def test_cells_across_blocks_are_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a block would end: between the CR and the LF of a cell, or in a quoted cell after a NUL."""
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 600)
    row = 'x,"' + "x" * 60 + "\r\n" + "y" * 60 + '",\0,"multi\nline text, and more\nof it' + "z" * 60 + '"\r\n'
    for at in range(len(row)):
        text = "k,a,b,c\r\n" + "f" * (600 - 13 - at) + ",,,\r\n" + 4 * row
        (tmp_path / "a.csv").write_bytes(text.encode())
        wanted = [tuple(cells) for cells in csv.reader(io.StringIO(text, newline=""))][1:]
        assert rows(tmp_path / "a.csv", ["k", "a", "b", "c"]) == wanted


def test_a_line_end_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CRLF, CRs and empty lines, wherever a block would end."""
    for end in ("\r\n", "\r", "\r\r\r\n\r\n", "\n"):
        lines = ["a,b", *("x" * length + ",y" for length in range(1, 28))]
        (tmp_path / "a.csv").write_bytes((end.join(lines) + end).encode())
        for block_bytes in range(15, 60):
            monkeypatch.setattr(csv_rows, "BLOCK_BYTES", block_bytes)
            assert rows(tmp_path / "a.csv") == [tuple(line.split(",")) for line in lines[1:]]


def test_an_error_does_not_pass_through_arrow() -> None:
    """Which would free it in a thread that the reader then waits for."""
    marked = MarkedText(pa.BufferReader(b"a,b\n" * 20 + b"\xff" * 80), RowMarker(COMMA, 2), b"x,x")
    assert [marked.read(64) for _ in range(4)] == [b"a,b\n" * 16, b"", b"", b""]
    with pytest.raises(UnicodeDecodeError), marked.errors():
        raise pa.ArrowInvalid("the end is not what was expected")
    with pytest.raises(pa.ArrowInvalid), marked.errors():
        raise pa.ArrowInvalid("another one")


def test_nothing_is_read_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow reads ahead: its file is not closed meanwhile, whose number might be that of the next one."""
    (tmp_path / "a.csv").write_text("a,b\n" + "1,2\n" * 1_000_000)
    filled, reading, closed = MarkedText._filled, Event(), []

    def slowly(stream: MarkedText, size: int) -> bytes:
        if current_thread() is not main_thread():
            reading.set()
            sleep(0.1)
            closed.append(stream._stream.closed)
        return filled(stream, size)

    monkeypatch.setattr(MarkedText, "_filled", slowly)
    found = read_batches(partition(tmp_path / "a.csv"), ["a"], header=["a", "b"], dialect=COMMA)
    next(found)
    assert reading.wait(10)
    found.close()
    sleep(0.3)
    assert closed
    assert not any(closed)


@pytest.mark.parametrize("after", [b"\xff,1\n", b"x" * 500 + b",1\n"])
def test_many_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bytes) -> None:
    """Arrow's threads do not wait for themselves: its pool has eight, and the ninth file would never be opened."""
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 64)
    errors: list[PartitionError] = []

    def read_all() -> None:
        for number in range(150):
            (tmp_path / "a.csv").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * (number % 60) + after))
            try:
                rows(tmp_path / "a.csv", ["a"])
            except PartitionError as error:
                errors.append(error)

    thread = Thread(target=read_all, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len(errors) == 150
    assert {"it is not utf-8" in str(error) or "is longer than" in str(error) for error in errors} == {True}


def test_cells_that_are_long(tmp_path: Path) -> None:
    """Rows of up to two blocks are read wherever they begin."""
    long = "z" * (2 * csv_rows.BLOCK_BYTES - len('"",1\n'))
    (tmp_path / "a.csv").write_text("".join(f"{cell},1\n" for cell in ["a", "b", long, "c", '"' + long + '"', "d"]))
    assert [cells[0] for cells in rows(tmp_path / "a.csv", ["a"])] == ["b", long, "c", long, "d"]
    for before in range(0, 2 * csv_rows.BLOCK_BYTES, csv_rows.BLOCK_BYTES // 4):
        (tmp_path / "a.csv").write_text("a,b\n" + "xyz,1\n" * (before // 6) + f'"{long}z",1\n')
        with pytest.raises(PartitionError, match="is longer than 2 MiB"):
            rows(tmp_path / "a.csv", ["a"])
