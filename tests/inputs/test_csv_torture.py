"""C1, C2: quotes, newlines in quotes, single quotes, CRLF, BOM and ragged rows are read the same way at all block sizes
from 64 bytes: the same rows, row numbers and rejects. Python's csv module is the reference."""

import csv as python_csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.inputs import csv_rows
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import CsvDialect

BLOCKS = [64, 65, 97, 128, 256, 1000, 4096, 1 << 20]
Found = tuple[list[tuple[str | None, ...]], list[int]]


def read(path: Path, block_bytes: int) -> Found:
    """Every row as a tuple of cells, and the numbers of the ragged ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "BLOCK_BYTES", block_bytes)
        (partition,) = discover(str(path), format="csv").partitions
        header = csv_rows.read_header(partition, CsvDialect()).names
        rows: list[tuple[str | None, ...]] = []
        ragged: list[int] = []
        for found in csv_rows.read_batches(partition, header, header=header, dialect=CsvDialect()):
            ragged += [len(rows) + position for position in found.unreadable]
            rows += [tuple(row.values()) for row in found.batch.to_pylist()]
    return rows, ragged


def read_or_refused(path: Path, block_bytes: int) -> Found | str:
    """The rows, or the message if the file is refused."""
    try:
        return read(path, block_bytes)
    except PartitionError as error:
        return str(error)


plain = st.text(st.sampled_from("ab1é .\0"), max_size=5)
lone = st.builds(lambda a, b: a + '"' + b, st.text("ab", min_size=1, max_size=2), st.text("ab", max_size=2))
quoted = st.text(st.sampled_from('ab,"\r\n é\0'), max_size=5).map(lambda text: '"' + text.replace('"', '""') + '"')
cell = st.one_of(plain, plain, lone, quoted)
row = st.one_of(st.lists(cell, min_size=3, max_size=3), st.lists(cell, min_size=1, max_size=5))


def bare_after_lines(cells: list[str]) -> bool:
    """Whether a quoted cell over several lines comes before an unquoted cell with a quote."""
    ends = {"\n", "\r"}
    lines = next((at for at, cell in enumerate(cells) if cell.startswith('"') and ends & set(cell)), len(cells))
    return any('"' in cell and not cell.startswith('"') for cell in cells[lines:])


tables = st.tuples(st.lists(row, min_size=1, max_size=40), st.booleans(), st.booleans(), st.booleans())
noise = st.text(st.sampled_from('ab,"\n\r\0'), max_size=200)


@given(tables)
def test_the_same_rows_at_every_block_size(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[list[list[str]], bool, bool, bool]
) -> None:
    """The rows, and the positions of ragged rows among them."""
    agrees_with_the_reference(tmp_path_factory, *file)


@pytest.mark.long
@settings(max_examples=600)
@given(tables)
def test_the_same_rows_of_many_files(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[list[list[str]], bool, bool, bool]
) -> None:
    """The same with more files."""
    agrees_with_the_reference(tmp_path_factory, *file)


def agrees_with_the_reference(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], crlf: bool, bom: bool, ended: bool
) -> None:
    """Check one file at every block size."""
    end = "\r\n" if crlf else "\n"
    text = end.join(["x,y,z", *(",".join(cells) for cells in table)]) + (end if ended else "")
    path = tmp_path_factory.mktemp("torture") / "a.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    wanted = [tuple(cells) for cells in python_csv.reader(io.StringIO(text, newline=""))][1:]
    wanted = [cells for cells in wanted if cells]  # empty lines
    # a row with one empty cell is an empty line
    good = [len(cells) == 3 and not bare_after_lines(cells) for cells in table if cells != [""]]
    expected = [cells if fine else (None, None, None) for cells, fine in zip(wanted, good, strict=True)]
    for block_bytes in BLOCKS:
        rows, ragged = read(path, block_bytes)
        assert rows == expected, block_bytes
        assert ragged == [number for number, fine in enumerate(good) if not fine], block_bytes


@settings(max_examples=120)
@given(noise)
def test_block_sizes_agree_on_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Even if parsers disagree: the rows are the same, or the file is refused."""
    agree(tmp_path_factory, text)


@pytest.mark.long
@settings(max_examples=1200)
@given(noise)
def test_block_sizes_agree_on_many_texts(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """The same with more texts."""
    agree(tmp_path_factory, text)


def agree(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Check one text at every block size."""
    path = tmp_path_factory.mktemp("noise") / "a.csv"
    path.write_bytes(b"x,y\n1,2\n" + text.encode())
    whole = read_or_refused(path, 1 << 20)
    assert not isinstance(whole, str) or "never closed" in whole
    for block_bytes in [16, 33, *BLOCKS]:
        found = read_or_refused(path, block_bytes)
        if isinstance(found, str):  # the row is longer than the block
            assert isinstance(whole, str) or "longer than" in found, (block_bytes, found)
        else:
            assert found == whole, block_bytes
