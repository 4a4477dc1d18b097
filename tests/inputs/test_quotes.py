"""Rows with ambiguous quotes or escapes are rejected under their own numbers, and other rows do not shift. The
reference is a simple state machine on characters; for rows that it accepts, Python's csv and pandas agree."""

import csv as python_csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.inputs import csv_rows
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import CsvDialect

COMMA = CsvDialect()
BACKSLASH = CsvDialect(escape="\\")
BLOCKS = [64, 65, 97, 1000, 1 << 20]
Row = tuple[str, ...] | str


def parsed(text: str, dialect: CsvDialect) -> list[Row] | None:
    """Every row as cells, or as what is wrong with it; None if a quote is never closed or the last character is an
    escape. Empty lines are not rows."""
    rows: list[Row] = []
    cells, cell, wrong = [], "", ""
    state, lines, at = "start", False, 0
    while at < len(text) or cells or state != "start":
        c, following = text[at : at + 1], text[at + 1 : at + 2]
        at += 1
        if not c and state == "quoted":
            return None
        if c and c == dialect.escape:
            if not following:
                return None
            at, cell = at + 1, cell + following
            if state == "closed":
                wrong = "text after"
            elif following not in (dialect.quote, dialect.delimiter, dialect.escape, "\n"):
                wrong = wrong or "escape"
            state = state if state != "start" else "plain"
        elif state == "quoted":
            if c == dialect.quote and following == dialect.quote:
                at, cell = at + 1, cell + c
            elif c == dialect.quote:
                state = "closed"
            else:
                cell, lines = cell + c, lines or c in "\r\n"
        elif c == dialect.quote and state == "start":
            state = "quoted"
        elif c == dialect.delimiter:
            cells, cell, state = [*cells, cell], "", "start"
        elif c in "\r\n":  # or at the end
            if cells or state != "start":
                rows.append(wrong or (*cells, cell))
            cells, cell, wrong, state, lines = [], "", "", "start", False
            at += c == "\r" and following == "\n"
        else:
            if state == "closed":
                wrong = "text after"
            elif c == dialect.quote and lines:
                wrong = "lines" if wrong in ("", "escape") else wrong
            cell, state = cell + c, "closed" if state == "closed" else "plain"
    return rows


def read(path: Path, block_bytes: int, dialect: CsvDialect) -> list[Row] | str:
    """The rows as read by Scoreline, or the message if the file is refused."""
    names = {"text after a closing": "text after", "over several lines": "lines", "an escape before": "escape"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "BLOCK_BYTES", block_bytes)
        (partition,) = discover(str(path), format="csv").partitions
        rows: list[Row] = []
        try:
            header = csv_rows.read_header(partition, dialect).names
            for found in csv_rows.read_batches(partition, header, header=header, dialect=dialect):
                read = [tuple(row.values()) for row in found.batch.to_pylist()]
                for position, reason in found.unreadable.items():
                    assert set(read[position]) == {None}
                    read[position] = next((name for says, name in names.items() if says in reason), "ragged")
                rows += read
        except PartitionError as error:
            return str(error)
    return rows


def expected(text: str, dialect: CsvDialect, columns: int) -> list[Row] | None:
    """The expected rows after the header."""
    rows = parsed(text, dialect)
    return rows and [row if isinstance(row, str) or len(row) == columns else "ragged" for row in rows[1:]]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from('ab,,""\n\n\r\\'), max_size=120), escaped=st.booleans())
@example(text='"Best" product,2\n3,4\n', escaped=False)
@example(text='"$7,"Sofa, red"\n3,4\n', escaped=False)
@example(text='1,"opens only\n2,3\n4,"x"\n5,6\n', escaped=False)
@example(text='1,"opens only\n2,3\n",4"\n5,6\n', escaped=False)
def test_rows_agree_with_a_state_machine(tmp_path_factory: pytest.TempPathFactory, text: str, escaped: bool) -> None:
    """Any text at any block size has the same rows, numbers and reasons."""
    dialect = BACKSLASH if escaped else COMMA
    path = tmp_path_factory.mktemp("quotes") / "a.csv"
    whole = "x,y\n1,2\n" + text
    path.write_bytes(whole.encode())
    wanted = expected(whole, dialect, 2)
    for block_bytes in BLOCKS:
        found = read(path, block_bytes, dialect)
        if isinstance(found, str):
            assert wanted is None or ("longer than" in found and block_bytes < 1000), (block_bytes, found)
        else:
            assert found == wanted, block_bytes


cells = st.text(st.sampled_from('ab ,"\n5'), max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=20), st.booleans(), st.sampled_from("\n\r"))
def test_valid_csv_is_never_rejected(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]], escaped: bool, crlf: str
) -> None:
    """Written by Python's csv with doubled quotes or escapes: every row is read back, as by pandas."""
    text = io.StringIO()
    quoting = {"escapechar": "\\", "doublequote": False} if escaped else {}
    lines = "\r\n" if crlf == "\r" else "\n"
    python_csv.writer(text, lineterminator=lines, **quoting).writerows([("x", "y", "z"), *table])  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("written") / "a.csv"
    path.write_bytes(text.getvalue().encode())
    for block_bytes in (64, 1 << 20):
        found = read(path, block_bytes, BACKSLASH if escaped else COMMA)
        if not (isinstance(found, str) and block_bytes == 64):
            assert found == table
    theirs = pd.read_csv(path, dtype=str, keep_default_na=False, escapechar="\\" if escaped else None)
    assert [tuple(row) for row in theirs.itertuples(index=False)] == table
