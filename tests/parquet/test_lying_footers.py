"""Inconsistent footers and page headers: the file is refused by name, or the output is correct row by row."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.parquet.file import ParquetSource
from scoreline.pipeline.parquet.footer import read_groups

from conftest import Example, Result
from footers import (
    GROUP_ROWS,
    NUM_ROWS,
    NUM_VALUES,
    PACKED,
    ROW_GROUPS,
    TOTAL_BYTE_SIZE,
    UNPACKED,
    Struct,
    chunk,
    decode,
    edit_footer,
    edit_last_page,
    encode,
    groups,
)

Command = Callable[..., Result]
Change = Callable[[Struct], None]
ROWS = 50


@pytest.fixture
def score(scoreline: Command, iris: Example, tmp_path: Path) -> Command:
    """Score `in.parquet` with `ROWS` rows per split."""

    def call(*words: object) -> Result:
        words = ("--split-rows", ROWS, *words)
        return scoreline(
            "score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out", *words
        )

    return call


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write three row groups of 50 rows."""
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=ROWS)


def refused(result: Result, *says: str) -> None:
    """Check for exit code 65, a message that names the file and has these texts, and no traceback."""
    assert result.code == 65, result.err
    assert "Traceback" not in result.err
    assert "in.parquet" in result.message
    for words in says:
        assert words in result.message


def put(where: Callable[[Struct], Struct], number: int, value: int) -> Change:
    """Change the value of a field."""

    def change(footer: Struct) -> None:
        where(footer)[number] = value

    return change


def moved(by: int, group: int) -> Change:
    """Change the number of rows of a row group, and the total."""

    def change(footer: Struct) -> None:
        groups(footer)[group][GROUP_ROWS] += by
        footer[NUM_ROWS] += by

    return change


def passed_on(by: int) -> Change:
    """Move rows from the count of the first group to the second."""

    def change(footer: Struct) -> None:
        groups(footer)[0][GROUP_ROWS] -= by
        groups(footer)[1][GROUP_ROWS] += by

    return change


def listed(kept: Callable[[list[Struct]], list[Struct]], *, total: bool) -> Change:
    """Change the list of row groups, with or without the total."""

    def change(footer: Struct) -> None:
        kind, found = footer[ROW_GROUPS]
        found = kept(found)
        footer[ROW_GROUPS] = (kind, found)
        if total:
            footer[NUM_ROWS] = sum(group[GROUP_ROWS] for group in found)

    return change


def everywhere(rows: int) -> Change:
    """Change every count of the first group, and the total."""

    def change(footer: Struct) -> None:
        footer[NUM_ROWS] += rows - ROWS
        groups(footer)[0][GROUP_ROWS] = rows
        for column in range(6):
            chunk(footer, 0, column)[NUM_VALUES] = rows

    return change


def all_changes() -> Iterator[tuple[str, Change]]:
    """Change the counts of the footer one at a time and together."""
    values = (-(2**63), -5, -1, 0, ROWS - 1, ROWS + 1, 2 * ROWS, 2**31, 2**62)
    for value in values:
        yield f"total {value}", put(lambda footer: footer, NUM_ROWS, value)
        yield f"all counts {value}", everywhere(value)
        for group in range(3):
            yield f"group {group} {value}", put(lambda footer, g=group: groups(footer)[g], GROUP_ROWS, value)
            yield (
                f"bytes of group {group} {value}",
                put(lambda footer, g=group: groups(footer)[g], TOTAL_BYTE_SIZE, value),
            )
            yield f"group {group} and total {value}", moved(value - ROWS, group)
            for column in (0, 1, 5):
                for field in (NUM_VALUES, UNPACKED, PACKED):
                    yield (
                        f"chunk {group}.{column}.{field} {value}",
                        put(lambda footer, g=group, c=column: chunk(footer, g, c), field, value),
                    )
    for by in (5, -5, ROWS, 2 * ROWS):
        yield f"passed on {by}", passed_on(by)
    for total in (False, True):
        yield f"a group missing {total}", listed(lambda found: found[:1] + found[2:], total=total)
        yield f"no group {total}", listed(lambda found: found[:0], total=total)
        yield f"a group doubled {total}", listed(lambda found: [*found, found[1]], total=total)


CHANGES = list(all_changes())
#: The changes that had lost or duplicated rows without an error.
WORST = [one for one in CHANGES if one[0].split()[0] in ("total", "all", "group", "passed", "a", "no")]
SHORT = [*WORST[::4], *(one for one in WORST if one[0] in ("all counts 0", "all counts 49", "no group False"))]


def right_or_refused(result: Result, out: Path, wanted: pa.Table, rows: int) -> None:
    """Check that the output is correct, or that the file was refused."""
    if result.code != 0:
        refused(result)
        assert not (out / "_SUCCESS").exists()
        return
    found = pa.concat_tables([pq.read_table(part) for part in sorted(out.glob("in*.parquet"))])
    assert found.equals(wanted), rows


@pytest.mark.parametrize(("name", "change"), SHORT, ids=[name for name, _ in SHORT])
def test_a_wrong_count(score: Command, tmp_path: Path, iris: Example, name: str, change: Change) -> None:
    """Refused before rows are lost or duplicated. If the footer consistently lists a row group more or fewer, the
    file is valid."""
    write(iris.frame, tmp_path / "in.parquet")
    edit_footer(tmp_path / "in.parquet", change)
    result = score()
    if name in ("a group missing True", "no group True", "a group doubled True"):
        assert result.code == 0
        return
    right_or_refused(result, tmp_path / "out", _wanted(iris, tmp_path), ROWS)


@pytest.mark.long
@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[name for name, _ in CHANGES])
def test_every_wrong_count(score: Command, tmp_path: Path, iris: Example, name: str, change: Change) -> None:
    """All changes."""
    test_a_wrong_count(score, tmp_path, iris, name, change)


def _wanted(iris: Example, tmp_path: Path) -> pa.Table:
    """The predictions for the unchanged rows."""
    import scoreline as library

    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    return library.Scorer.load(iris.bundle).score_table(table)


def test_messages_say_what_is_wrong(score: Command, tmp_path: Path, iris: Example) -> None:
    """Messages name the rule and the numbers."""
    file = tmp_path / "in.parquet"
    for change, words in (
        (moved(-ROWS - 5, 0), "row group 0 declares -5 rows"),
        (put(lambda footer: footer, NUM_ROWS, 2**62), "4,611,686,018,427,387,904 rows, but its row groups have 150"),
        (listed(lambda found: found[1:], total=False), "it declares 150 rows, but its row groups have 100"),
        (passed_on(5), "row group 0 declares 45 rows, but its column 'row_id' has 50"),
        (everywhere(2**62), "row group 0 declares 4,611,686,018,427,387,904 rows"),
    ):
        write(iris.frame, file)
        edit_footer(file, change)
        refused(score(), "its footer is inconsistent", words)


@pytest.mark.parametrize("change", [passed_on(10), passed_on(-10), moved(-10, 0), moved(-1, 1), moved(10, 0)])
@pytest.mark.parametrize(
    "values",
    [
        [[n] * (n % 4) for n in range(100)],
        [None if n % 3 else [[n], None, [], [n, n]] for n in range(100)],
        [[{"x": [n] * (n % 3), "y": n}] for n in range(100)],
    ],
    ids=["lists", "lists of lists", "lists of structs of lists"],
)
def test_files_of_lists_alone(tmp_path: Path, change: Change, values: list[Any]) -> None:
    """For lists, a chunk declares its number of values, not of rows."""
    file = tmp_path / "in.parquet"
    table = pa.table({"l": values})
    pq.write_table(table, file, row_group_size=ROWS)
    with ParquetSource(file, name="in.parquet") as source:
        assert source.read() == table
    edit_footer(file, change)
    with (
        ParquetSource(file, name="in.parquet") as source,
        pytest.raises(PartitionError, match=r"in.parquet: .* footer is inconsistent: .*row group \d"),
    ):
        source.read()


def test_verify_reports_an_inconsistent_footer(
    score: Command, scoreline: Command, tmp_path: Path, iris: Example
) -> None:
    """The message names the part."""
    write(iris.frame, tmp_path / "in.parquet")
    assert score().code == 0
    part = tmp_path / "out" / "in-00001.parquet"
    whole = part.read_bytes()
    for change in (moved(-5, 0), moved(5, 0), put(lambda footer: footer, NUM_ROWS, 2**62), everywhere(45)):
        part.write_bytes(whole)
        edit_footer(part, change)
        result = scoreline("verify", tmp_path / "out")
        assert result.code == 65
        assert "in-00001.parquet" in result.out + result.err
        assert "Traceback" not in result.err


def test_a_page_that_unpacks_to_gigabytes(score: Command, tmp_path: Path, iris: Example) -> None:
    """A kilobyte that declares to unpack to gigabytes is refused, independent of the footer."""
    file = tmp_path / "in.parquet"
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    table = table.append_column("note", pa.array(["x" * 200] * len(table)))
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for _ in range(1200):
            stream.write(b"\0" * (1 << 20))
    zeros = sink.getvalue().to_pybytes()
    for claim, body in ((2**31 - 1, None), (1200 << 20, zeros), (300 << 20, None)):
        pq.write_table(table, file, compression="zstd", use_dictionary=False)

        def change(header: Struct, old: bytes, claim: int = claim, body: bytes | None = body) -> bytes:
            new = old if body is None else body
            header[2], header[3] = claim, len(new)
            return new

        edit_last_page(file, change)
        refused(score(), "a page of column 'note' of row group 0", f"unpack to {claim:,}")
        assert score("--keys", "row_id", "--force").code == 0


def test_the_footer_editor_is_lossless(tmp_path: Path, iris: Example) -> None:
    """Decoding and encoding a footer returns the same bytes."""
    write(iris.frame, tmp_path / "in.parquet")
    data = (tmp_path / "in.parquet").read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer: Any = decode(data, start)[0]
    assert encode(footer) == data[start:-8]


def test_every_changed_byte_of_a_footer_is_read_or_refused() -> None:
    """Wherever Arrow still reads the footer: a field of another type, a number that is no number."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": ["x", "y"]}), sink, row_group_size=1)
    data = sink.getvalue().to_pybytes()
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    refused = 0
    for at in range(begin, len(data) - 8):
        for value in {0x0C, 0x15, 0x1C, *(data[at] ^ (1 << bit) for bit in range(6))}:
            changed = data[:at] + bytes([value]) + data[at + 1 :]
            try:
                metadata = pq.ParquetFile(pa.BufferReader(changed)).metadata
            except (OSError, pa.ArrowException):
                continue
            try:
                read_groups(BytesIO(changed), metadata, "in.parquet")
            except PartitionError:
                refused += 1
    assert refused > 10
