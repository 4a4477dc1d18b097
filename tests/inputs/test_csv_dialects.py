"""CSV files in real dialects, configured in the job file; pandas is the reference."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result

Command = Callable[..., Result]


def job(folder: Path, iris: Example, section: str, **flags: object) -> Path:
    """A job file with a `[csv]` section."""
    lines = [f'bundle = "{iris.bundle}"', 'input = "data"', 'output = "out"']
    lines += [f"{name} = {json.dumps(value)}" for name, value in flags.items()]
    (folder / "job.toml").write_text("\n".join([*lines, "[csv]", section]))
    return folder / "job.toml"


def predictions(out: Path) -> pd.DataFrame:
    return pd.concat([pq.read_table(part).to_pandas() for part in sorted(out.glob("*.parquet"))], ignore_index=True)


def test_german_csv(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """C6: semicolons, decimal commas, Latin-1, single quotes, null words; check, score, score again, verify."""
    frame = iris.frame.assign(name="Müller; Söhne")
    (tmp_path / "data").mkdir()
    text = frame.to_csv(index=False, sep=";", decimal=",", quotechar="'")
    (tmp_path / "data" / "a.csv").write_bytes(text.encode("latin-1"))
    section = "delimiter = ';'\ndecimal = ','\nquote = \"'\"\nencoding = 'latin-1'\nnulls = ['k.A.']"
    file = job(tmp_path, iris, section)
    tried = json.loads(scoreline("check", "--job", file, "--json").out)
    assert tried["rows"]["rejected"] == 0
    result = scoreline("score", "--job", file)
    assert result.code == 0, result.err
    found = predictions(tmp_path / "out")
    wanted = iris.raw()
    assert found["prediction"].tolist() == [iris.labels[n] for n in wanted.argmax(axis=1)]
    assert set(found["name"]) == {"Müller; Söhne"}
    assert "nothing_to_do" in scoreline("score", "--job", file).err
    verified = json.loads(scoreline("verify", tmp_path / "out", "--json").out)
    assert (verified["problems"], verified["keys_compared"]) == ([], 1)


def test_a_changed_dialect_rescores_csv_files(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """The dialect is part of the fingerprint of CSV files only."""
    (tmp_path / "data").mkdir()
    iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False)
    iris.frame.to_parquet(tmp_path / "data" / "b.parquet", index=False)
    assert scoreline("score", "--job", job(tmp_path, iris, "")).code == 0
    result = scoreline("score", "--job", job(tmp_path, iris, "nulls = ['NA']"))
    assert result.event("run_started")["to_score"] == {"option csv changed": 1}
    assert result.event("run_started")["kept"] == 1


def test_null_words_are_for_features_only(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """C5: keys keep theirs, as text; a feature has no value there."""
    frame = iris.frame.astype(object)
    frame["row_id"] = ["NA", "null", "08123", "99999999999999999999"] + ["x"] * 146
    frame.loc[[2, 7], iris.features[0]] = ["NA", "-"]
    (tmp_path / "data").mkdir()
    frame.to_csv(tmp_path / "data" / "a.csv", index=False)
    result = scoreline("score", "--job", job(tmp_path, iris, "nulls = ['NA', '-']", max_rejects=2))
    assert result.code == 0, result.err
    assert predictions(tmp_path / "out")["row_id"].tolist()[:3] == ["NA", "null", "99999999999999999999"]
    with pa.ipc.open_file(tmp_path / "out" / "_rejects" / "a.csv.arrow") as reader:
        rejects = reader.read_all().to_pylist()
    assert [(row["reject"]["row_number"], row["reject"]["reason"]) for row in rejects] == [
        (2, "is null"),
        (7, "is null"),
    ]
    assert [row[iris.features[0]] for row in rejects] == ["NA", "-"]  # as they came


def test_a_point_is_not_a_decimal_mark_if_a_comma_is(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """1.234 may mean 1234 to its writer, so it is rejected."""
    (tmp_path / "data").mkdir()
    text = iris.frame.to_csv(index=False, sep=";", decimal=",").splitlines()
    cells = text[1].split(";")
    text[1] = ";".join([cells[0], "1.234", *cells[2:]])
    (tmp_path / "data" / "a.csv").write_text("\n".join(text))
    result = scoreline("score", "--job", job(tmp_path, iris, "delimiter = ';'\ndecimal = ','"))
    assert result.code == 65
    assert "row 0: column 'sepal length (cm)' is '1.234', not a number" in result.message


def test_without_a_header(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """The job file names the columns."""
    (tmp_path / "data").mkdir()
    iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False, header=False)
    result = scoreline("score", "--job", job(tmp_path, iris, f"columns = {json.dumps(list(iris.frame.columns))}"))
    assert result.code == 0, result.err
    assert [int(n) for n in predictions(tmp_path / "out")["row_id"]] == iris.frame["row_id"].tolist()


def test_ragged_rows_are_rejects_with_their_numbers(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """C2: within the budget the other rows are scored in order; the message shows the cells of the bad row."""
    (tmp_path / "data").mkdir()
    lines = iris.frame.to_csv(index=False).splitlines()
    lines[11] = "1,2,3"
    lines[51] += ",more"
    (tmp_path / "data" / "a.csv").write_text("\n".join(lines))
    refused = scoreline("score", "--job", job(tmp_path, iris, ""))
    assert refused.code == 65
    assert "a.csv: row 10: has 3 cells, but the header has 6: 1,2,3; 2 rows rejected, 0 allowed" in refused.message
    result = scoreline("score", "--job", job(tmp_path, iris, "", max_rejects=2))
    assert result.code == 0, result.err
    kept = [row for row in range(150) if row not in (10, 50)]
    found = predictions(tmp_path / "out")
    assert [int(n) for n in found["row_id"]] == iris.frame["row_id"][kept].tolist()
    assert found["prediction"].tolist() == [iris.labels[n] for n in iris.raw().argmax(axis=1)[kept]]
    with pa.ipc.open_file(tmp_path / "out" / "_rejects" / "a.csv.arrow") as reader:
        rejects = reader.read_all()["reject"].to_pylist()
    assert [(row["row_number"], row["stage"]) for row in rejects] == [(10, "read"), (50, "read")]
    assert scoreline("verify", tmp_path / "out").code == 0


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("delimiter = ';;'", "csv.delimiter"),
        ("delimiter = '\"'", "delimiter, quote and escape must differ"),
        ("encoding = 'klingon'", "csv.encoding: 'klingon' is not an encoding that Python knows"),
        ("encoding = 'base64'", "csv.encoding: 'base64' is not an encoding that Python knows"),
        ("encoding = 'punycode'", "csv.encoding: 'punycode' is not an encoding that Python knows"),
        ("decimal = '_'", "csv.decimal"),
        ("columns = []", "csv.columns"),
        ("separator = ';'", "'separator' is not a setting of [csv]"),
    ],
)
def test_invalid_dialects_are_refused(
    scoreline: Command, iris: Example, tmp_path: Path, section: str, says: str
) -> None:
    """The message names the setting."""
    result = scoreline("score", "--job", job(tmp_path, iris, section))
    assert result.code == 78
    assert says in result.message


def test_an_unconfigured_delimiter_is_refused_with_a_hint(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """C6: the file is not read as one column that is ignored."""
    (tmp_path / "data").mkdir()
    iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False, sep=";")
    result = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "data", "--output", tmp_path / "out")
    assert result.code == 65
    assert "are missing" in result.message
    assert 'delimiter = ";"' in result.message


@pytest.mark.parametrize(("inner", "what"), [(gzip.compress, "gzip"), (bz2.compress, "compressed with bzip2")])
def test_a_compressed_file_within_gzip(
    scoreline: Command, iris: Example, tmp_path: Path, inner: Callable[[bytes], bytes], what: str
) -> None:
    """It is named as such: another encoding would not help."""
    data = gzip.compress(inner(iris.frame.to_csv(index=False).encode()))
    (tmp_path / "a.csv.gz").write_bytes(data)
    result = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "a.csv.gz", "--output", tmp_path / "out")
    assert result.code == 65
    assert f"; it is {what} within gzip; unpack it" in result.message


@pytest.mark.parametrize(
    ("encoding", "options", "says"),
    [
        (
            "latin-1",
            {"sep": ";", "decimal": ","},
            "it is not utf-8",
        ),
        ("utf-16", {}, 'encoding = "utf-16"'),
        ("utf-8", {"header": False}, "name the columns in the job file, [csv] columns"),
        ("utf-8", {"decimal": ",", "quoting": 1}, '[csv] decimal = ","'),
    ],
)
def test_unconfigured_dialects_are_refused_with_a_hint(
    scoreline: Command, iris: Example, tmp_path: Path, encoding: str, options: dict[str, Any], says: str
) -> None:
    """The message is one line, without a traceback of a callback."""
    (tmp_path / "data").mkdir()
    text = iris.frame.assign(name="Müller").to_csv(index=False, **options)
    (tmp_path / "data" / "a.csv").write_bytes(text.encode(encoding))
    result = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "data", "--output", tmp_path / "out")
    assert result.code == 65
    assert says in result.message
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n1,2\n\x03,\x03\n"2,3\n4,5\n',
        "\nv\n1\n",
        "a,b\n1,2\n\xff\n",
    ],
)
def test_files_that_were_once_accepted(scoreline: Command, iris: Example, tmp_path: Path, text: str) -> None:
    """A row that looks like the internal end mark before an open quote; an empty line before a single-column header;
    invalid bytes in a ragged row. Both check and score refuse them every time."""
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    for _ in range(3):
        for words in (["check"], ["score", "--output", tmp_path / "out"]):
            result = scoreline(*words, "--bundle", iris.bundle, "--input", tmp_path / "a.csv")
            assert result.code == 65
            assert "Traceback" not in result.err


def test_files_of_which_no_column_is_read(scoreline: Command, tmp_path: Path) -> None:
    """With features from folders and no keys, only the number of rows is read from the file."""
    import torch

    from scoreline import Regression, save_bundle

    save_bundle(
        tmp_path / "b",
        torch.nn.Linear(1, 1),
        features=["v"],
        task=Regression(),
        scaler=None,
        sample=np.arange(4.0)[:, None],
    )
    for value, rows in (("7", "k,l\n1,2\n3\n4,5\n"), ("x", "k,l\n1,2\n")):
        (tmp_path / "in" / f"v={value}").mkdir(parents=True)
        (tmp_path / "in" / f"v={value}" / "a.csv").write_text(rows)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "in", "--output", tmp_path / "out", "--keys", "none"]
    result = scoreline("score", *words, "--max-rejects", "2")
    assert result.code == 0, result.err
    assert pq.ParquetFile(tmp_path / "out" / "v=7" / "a.csv.parquet").metadata.num_rows == 2
    with pa.ipc.open_file(tmp_path / "out" / "_rejects" / "v=x" / "a.csv.arrow") as reader:
        assert reader.read_all()["reject"].to_pylist()[0]["reason"] == "is 'x', not a number"


def test_a_cell_with_thousands_of_digits(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """It rejects only its row."""
    rows = pd.DataFrame({name: [1.0, 2.0] for name in iris.features}).astype(object)
    rows.loc[1, iris.features[0]] = "0" * 5000 + "9007199254740993"
    rows.to_csv(tmp_path / "a.csv", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "a.csv", "--output", tmp_path / "out"]
    assert "row 1: column 'sepal length (cm)' is '000" in scoreline("score", *words).message


def test_a_type_that_changes_late(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """C4: after 200,000 numbers comes a word; the message names row and column."""
    rows = pd.DataFrame({name: np.ones(200_001) for name in iris.features}).astype(object)
    rows.loc[200_000, iris.features[2]] = "n/a"
    (tmp_path / "data").mkdir()
    rows.to_csv(tmp_path / "data" / "a.csv", index=False)
    result = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "data", "--output", tmp_path / "out")
    assert result.code == 65
    assert "a.csv: row 200000: column 'petal length (cm)' is 'n/a', not a number" in result.message
