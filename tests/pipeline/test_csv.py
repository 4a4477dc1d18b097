"""CSV cells arrive as the text they are; Python's csv module is the judge."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.inputs.csv import read_batches, read_header
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.records import Partition


def partition(path: Path) -> Partition:
    """The file as a partition."""
    (found,) = discover(str(path), format="csv").partitions
    return found


def rows(path: Path, columns: list[str]) -> list[tuple[str, ...]]:
    """All rows, as tuples of text."""
    batches = list(read_batches(partition(path), columns, header=read_header(partition(path)).names))
    return [tuple(row[name] for name in columns) for batch in batches for row in batch.to_pylist()]


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
    assert read_header(partition(path)).names == ["a", "b", "c"]
    assert rows(path, ["a", "b", "c"]) == table


def test_ids_stay_text_and_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    """Nothing is inferred."""
    (tmp_path / "a.csv").write_text("id,x,y\n08123,1,2\nNA,null,\n99999999999999999999,1.50,x\n")
    assert rows(tmp_path / "a.csv", ["y", "id"]) == [("2", "08123"), ("", "NA"), ("x", "99999999999999999999")]


def test_gzip(tmp_path: Path) -> None:
    """Unpacked on the way."""
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert rows(tmp_path / "a.csv.gz", ["a", "b"]) == [("1", "2")]


@pytest.mark.parametrize("data", [b"a,b\n1,2\n3\n", b"a,b\n1,2,3\n", b"a,b\n\xe9\xff,1\n"])
def test_a_file_that_is_not_whole_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    """Ragged rows, bytes that are no UTF-8."""
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(PartitionError, match=r"a\.csv: cannot be read as CSV"):
        rows(tmp_path / "a.csv", ["a", "b"])


def test_header_only(tmp_path: Path) -> None:
    """No rows, and no error."""
    (tmp_path / "a.csv").write_text("a,b\n")
    assert read_header(partition(tmp_path / "a.csv")).names == ["a", "b"]
    assert rows(tmp_path / "a.csv", ["a", "b"]) == []


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n1,"x\n2,y\n3,z\n',
        'a,b\n1,"x',
        'a,b\n1,x\n"2,y\n',
        'a,b\n1,x\n2,"y""\n',
        'a\n1\n"',
    ],
)
def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path, text: str) -> None:
    """C2: it would swallow the rest of the file into one cell."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(PartitionError, match=r"a quote is opened and never closed|Expected 2 columns, got 1"):
        rows(tmp_path / "a.csv", read_header(partition(tmp_path / "a.csv")).names)


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
def test_the_end_of_a_file_adds_and_takes_no_row(tmp_path: Path, text: str, expected: list[tuple[str, ...]]) -> None:
    """With or without a last newline, empty lines, lone quotes within a cell."""
    (tmp_path / "a.csv").write_text(text, newline="")
    assert rows(tmp_path / "a.csv", read_header(partition(tmp_path / "a.csv")).names) == expected


def test_files_of_many_blocks(tmp_path: Path) -> None:
    """Rows that straddle the reader's blocks, with quotes and newlines among them; Python's csv is the judge."""
    table = [(str(n), f'note "{n}",\n{"x" * (n % 97)}', f"{n / 7:.17g}") for n in range(60_000)]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "note", "x"), *table])
    assert (tmp_path / "a.csv").stat().st_size > 4 << 20
    assert read_header(partition(tmp_path / "a.csv")).names == ["id", "note", "x"]
    assert rows(tmp_path / "a.csv", ["id", "note", "x"]) == table
