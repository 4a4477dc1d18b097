"""Scoring of corrupted CSV files: every row is scored with its own values or rejected, or the file is refused. The
reference is the table that was written."""

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from conftest import Result
from scoreline import Regression, save_bundle

Command = Callable[..., Result]
HEADER = ["id", "a", "b", "note"]
NOTES = ['two\nlines, and "more"', "plain", 'a "word"', "", "semi;colon", "tab\there", "Müller, Söhne", "x" * 30]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """prediction = 2a + 3b, to distinguish values."""
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight[:] = torch.tensor([[2.0, 3.0]])
        model.bias[:] = 0
    folder = tmp_path_factory.mktemp("pollution") / "bundle"
    sample = np.arange(20.0).reshape(10, 2)
    save_bundle(folder, model, features=["a", "b"], task=Regression(), scaler=None, sample=sample)
    return folder


def table(random: random.Random, rows: int) -> list[list[str]]:
    return [[f"{at:04}", str(at), str(random.randrange(90)), random.choice(NOTES)] for at in range(rows)]


def written(rows: list[list[str]], **how: object) -> list[str]:
    """Each row as written by Python's csv, with its line end."""
    lines = []
    for row in rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", **how).writerow(row)  # type: ignore[arg-type]
        lines.append(text.getvalue())
    return lines


def corrupted(random: random.Random, lines: list[str], at: int) -> str:
    """A row with something added or removed at a random position."""
    line = lines[at]
    position = random.randrange(len(line))
    kind = random.randrange(6)
    if kind == 0:
        return line[:position] + '"' + line[position:]
    if kind == 1:
        return line[:position] + "," + line[position:]
    if kind == 2:
        return line.replace(",", "", 1)
    if kind == 3:
        return line[:position] + line[position + 1 :].rstrip("\n") + "\n"
    if kind == 4:
        return line[:position].rstrip("\n") + "\n" + line[position:]
    return "".join(c + '"' if random.random() < 0.1 else c for c in line.rstrip("\n")) + "\n"


def outcome(
    scoreline: Command, bundle: Path, folder: Path, data: bytes, section: str = ""
) -> tuple[pd.DataFrame, Result]:
    """The result of scoring a file, with any number of rejects allowed."""
    folder.mkdir()
    (folder / "a.csv").write_bytes(data)
    lines = [f'bundle = "{bundle}"', 'input = "a.csv"', 'output = "out"', 'max_rejects = "100%"', "[csv]", section]
    (folder / "job.toml").write_text("\n".join(lines))
    result = scoreline("score", "--job", folder / "job.toml")
    assert "Traceback" not in result.err
    part = folder / "out" / "a.csv.parquet"
    return (pq.read_table(part).to_pandas() if result.code == 0 else pd.DataFrame(columns=["id"])), result


def rejected(folder: Path) -> int:
    file = folder / "out" / "_rejects" / "a.csv.arrow"
    if not file.exists():
        return 0
    with pa.ipc.open_file(file) as reader:
        return int(reader.read_all().num_rows)


def check_corrupted(scoreline: Command, bundle: Path, folder: Path, seeds: range) -> None:
    """With one corrupted row, each other row is scored correctly unless the file is refused or has a reject."""
    for seed in seeds:
        draw = random.Random(seed)
        rows = table(draw, 12)
        how = {"quoting": draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])}
        lines = written(rows, **how)
        at = draw.randrange(len(rows))
        text = "id,a,b,note\n" + "".join([*lines[:at], corrupted(draw, lines, at), *lines[at + 1 :]])
        found, result = outcome(scoreline, bundle, folder / str(seed), text.encode())
        if result.code != 0:
            continue
        values = {row["id"]: (row["prediction"], row["note"]) for row in found.to_dict("records")}
        right = {row[0]: (2.0 * int(row[1]) + 3.0 * int(row[2]), row[3]) for row in rows}
        lost = [row[0] for n, row in enumerate(rows) if n != at and values.get(row[0]) != right[row[0]]]
        assert not lost or rejected(folder / str(seed)), (seed, text)


def test_a_corrupted_row_does_not_affect_others(scoreline: Command, bundle: Path, tmp_path: Path) -> None:
    """Quotes, delimiters and line ends are added or removed at any position."""
    check_corrupted(scoreline, bundle, tmp_path, range(25))


@pytest.mark.long
def test_many_corrupted_rows_do_not_affect_others(scoreline: Command, bundle: Path, tmp_path: Path) -> None:
    """A thousand files."""
    check_corrupted(scoreline, bundle, tmp_path, range(1000, 2000))


@pytest.mark.parametrize(
    ("section", "how"),
    [
        ("", {}),
        ("", {"quoting": csv.QUOTE_ALL}),
        ('delimiter = ";"', {"delimiter": ";"}),
        ('delimiter = "\\t"', {"delimiter": "\t"}),
        ('delimiter = "\\u0001"', {"delimiter": "\x01"}),
        ('delimiter = "\\u0003"', {"delimiter": "\x03"}),
        ('delimiter = "\\u001f"', {"delimiter": "\x1f"}),
        ("quote = \"'\"", {"quotechar": "'"}),
        ("escape = '\\'", {"escapechar": "\\", "doublequote": False}),
        ("escape = '\\'\nquote = ''", {"escapechar": "\\", "quoting": csv.QUOTE_NONE}),
        ("escape = '\\'\nquote = ''\ndelimiter = \"\\u0001\"",
         {"escapechar": "\\", "quoting": csv.QUOTE_NONE, "delimiter": "\x01"}),
        ("escape = '!'", {"escapechar": "!", "doublequote": False}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bom", [False, True])
def test_declared_dialects_lose_nothing(
    scoreline: Command, bundle: Path, tmp_path: Path, section: str, how: dict[str, object], bom: bool
) -> None:
    """Every value is read as it was written, by score and by verify."""
    rows = table(random.Random(0), 40)
    data = (b"\xef\xbb\xbf" if bom else b"") + "".join(written([HEADER, *rows], **how)).encode()
    found, result = outcome(scoreline, bundle, tmp_path / "in", data, section)
    assert result.code == 0, result.err
    assert found[["id", "note"]].to_numpy().tolist() == [[row[0], row[3]] for row in rows]
    assert found["prediction"].tolist() == [2.0 * int(row[1]) + 3.0 * int(row[2]) for row in rows]
    assert not rejected(tmp_path / "in")
    assert json.loads(scoreline("verify", tmp_path / "in" / "out", "--json").out)["problems"] == []


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ('1,2,3,"Best" product\n2,2,3,x\n', {0: 'text after a closing quote: 1,2,3,"Best" product'}),
        ('1,2,3,x\n2,"$7,"Sofa, red",3\n3,2,3,x\n', {1: "text after a closing quote"}),
        ('1,2,3,"opens only\n2,2,3,x\n3,2,3,"y"\n4,2,3,z\n', {0: '"opens only\\n2,2,3,x'}),
        ('1,2,3,"opens only\n2,2,3,x\n3,2,",3,x"\n4,2,3,z\n', {0: "quote inside an unquoted cell"}),
        ('1,2,3,"a \\"word\\""\n2,2,3,z\n', {0: "[csv] escape"}),
        ('1,2,3,"closed" \n2,2,3,z\n', {0: "text after a closing quote"}),
    ],
)
def test_stray_quotes_are_rejects(
    scoreline: Command, bundle: Path, tmp_path: Path, text: str, reasons: dict[int, str]
) -> None:
    """Each with its row number and its text; the last row of the file is scored."""
    found, result = outcome(scoreline, bundle, tmp_path / "in", ("id,a,b,note\n" + text).encode())
    assert result.code == 0, result.err
    assert found["id"].tolist()[-1] == text.splitlines()[-1][0]
    with pa.ipc.open_file(tmp_path / "in" / "out" / "_rejects" / "a.csv.arrow") as reader:
        rejects = reader.read_all()["reject"].to_pylist()
    assert [row["row_number"] for row in rejects] == list(reasons)
    for row, says in zip(rejects, reasons.values(), strict=True):
        assert says.replace("\\n", "\n") in row["reason"]


def test_what_a_stray_quote_in_the_last_column_may_still_swallow(
    scoreline: Command, bundle: Path, tmp_path: Path
) -> None:
    """If a quote at the end of a later cell closes it, the bytes are those of a valid cell over several lines. A quote
    inside an unquoted cell is kept."""
    text = 'id,a,b,note\n1,2,3,5" pipe\n2,2,3,"opens only\n3,2,3,pipe of 5"\n4,2,3,end\n'
    found, result = outcome(scoreline, bundle, tmp_path / "in", text.encode())
    assert result.code == 0
    assert found["note"].tolist() == ['5" pipe', "opens only\n3,2,3,pipe of 5", "end"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"report of May\n\nid,a,b,note\n1,2,3,x\n", "are missing"),
        (b'id,"a"x,b,note\n1,2,3,x\n', "the header has text after a closing quote"),
        (b"id;a;b;note\n1;2;3;x\n", 'delimiter = ";"'),
        (b"PK\x03\x04...", "a zip archive"),
        (b"PAR1\x15\x04...", "a Parquet file"),
        (b"id,a,b,\xff\n1,2,3,x\n", "not utf-8"),
        (b"id,a,b,note\n1,2,3,x\\", None),
    ],
)
def test_files_that_are_not_tables_are_refused(
    scoreline: Command, bundle: Path, tmp_path: Path, data: bytes, says: str | None
) -> None:
    """Preambles, headers with stray quotes, other delimiters and other types of files."""
    section = "" if says is not None else "escape = '\\'"
    _, result = outcome(scoreline, bundle, tmp_path / "in", data, section)
    assert result.code == 65, result.err
    assert (says or "row 0 ends with an escape") in result.message


def test_several_tables_in_one_file(scoreline: Command, bundle: Path, tmp_path: Path) -> None:
    """Another header, a table with other columns and a footer are rejected; the rows between them are scored."""
    data = b"id,a,b,note\n1,2,3,x\nid,a,b,note\n2,2,3,y\n\nname,total\nz,5\n# end\n"
    found, _ = outcome(scoreline, bundle, tmp_path / "in", data)
    assert found["id"].tolist() == ["1", "2"]
    assert rejected(tmp_path / "in") == 4


def test_reasons_are_short_and_columns_may_have_names_of_formats(
    scoreline: Command, bundle: Path, tmp_path: Path
) -> None:
    """A reason shows the beginning of a long row; a file whose first column is PAR1 is not a Parquet file."""
    data = b'PAR1,id,a,b,note\n0,1,2,3,x\n0,2,2,3,"' + b"x" * 100_000 + b'"y\n'
    found, _ = outcome(scoreline, bundle, tmp_path / "in", data)
    assert found["id"].tolist() == ["1"]
    with pa.ipc.open_file(tmp_path / "in" / "out" / "_rejects" / "a.csv.arrow") as reader:
        ((reason,),) = ((row["reason"],) for row in reader.read_all()["reject"].to_pylist())
    assert reason.startswith("has text after a closing quote: 0,2,2,3,")
    assert len(reason) == 250


@pytest.mark.parametrize("cell", ["C:\\new", "\\N"])
def test_an_escape_that_escapes_nothing_is_a_reject(
    scoreline: Command, bundle: Path, tmp_path: Path, cell: str
) -> None:
    """pandas drops such a backslash, Spark keeps it."""
    data = f"id,a,b,note\n1,2,3,{cell}\n2,2,3,y\n".encode()
    found, _ = outcome(scoreline, bundle, tmp_path / "in", data, "escape = '\\'")
    assert found["id"].tolist() == ["2"]
    kept, _ = outcome(scoreline, bundle, tmp_path / "plain", data)
    assert kept["note"].tolist() == [cell, "y"]
