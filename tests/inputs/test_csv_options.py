"""Every option of `[csv]` with every kind of input: an option that can change values is in the fingerprint of the
parts, and an option that does not apply to an input never causes it to be rescored."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.outputs.receipt import read_receipt
from scoreline.schemas.run import Receipt

from conftest import Result
from scoreline import Regression, save_bundle

Command = Callable[..., Result]
OPTIONS = {
    "delimiter": ";",
    "quote": "'",
    "escape": "\\",
    "decimal": ",",
    "encoding": "latin-1",
    "nulls": ["7"],
    "columns": ["id", "a", "h"],
}
#: The predictions for the Parquet files, in the order of their names.
SUMS = [4.0, 14.0, 4.0, 9.5, 8.5, 14.0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that adds `a` and `h`, which may be in the name of a folder."""
    model = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(model.weight)
    torch.nn.init.zeros_(model.bias)
    folder = tmp_path_factory.mktemp("options") / "bundle"
    sample = np.arange(20.0).reshape(10, 2)
    save_bundle(folder, model, features=["a", "h"], task=Regression(), scaler=None, sample=sample)
    return folder


def inputs(folder: Path) -> None:
    """Write tables in both formats, with `h` as a column and with `h` in the path."""
    frame = pd.DataFrame({"id": ["x", "y"], "a": [1.5, 7.0], "h": [2.5, 7.0]})
    for name, table in (("flat", frame), ("h=2.5", frame[["id", "a"]]), ("h=7", frame[["id", "a"]])):
        (folder / name).mkdir(parents=True)
        table.to_parquet(folder / name / "a.parquet", index=False)
        table.to_csv(folder / name / "a.csv", index=False)


def score(scoreline: Command, bundle: Path, folder: Path, section: str) -> Result:
    lines = [f'bundle = "{bundle}"', 'input = "in"', 'output = "out"', 'max_rejects = "100%"', "[csv]", section]
    (folder / "job.toml").write_text("\n".join(lines))
    return scoreline("score", "--job", folder / "job.toml")


def parts(out: Path) -> dict[str, tuple[list[object], str | None]]:
    """The predictions of every part, and `[csv]` in its fingerprint."""
    found = {}
    for path in sorted(out.rglob("*.parquet")):
        receipt = read_receipt(path)
        assert isinstance(receipt, Receipt)
        rows = pq.ParquetFile(path).read().to_pylist()
        found[str(path.relative_to(out))] = (rows, receipt.fingerprint.options.get("csv"))
    return found


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_applies_to_csv_files_only(scoreline: Command, bundle: Path, tmp_path: Path, option: str) -> None:
    """Parts of Parquet files keep their values and bytes, with features from the file and the path; parts of CSV files
    record the option."""
    inputs(tmp_path / "in")
    assert score(scoreline, bundle, tmp_path, "").code == 0
    before = parts(tmp_path / "out")
    parquet = {name for name in before if not name.endswith(".csv.parquet")}
    assert [row["prediction"] for name in sorted(parquet) for row in before[name][0]] == [
        4.0,
        14.0,
        4.0,
        9.5,
        8.5,
        14.0,
    ]
    bytes_before = {name: (tmp_path / "out" / name).read_bytes() for name in parquet}
    value = OPTIONS[option]
    result = score(scoreline, bundle, tmp_path, f"{option} = {json.dumps(value)}")
    if option in ("delimiter", "columns"):  # the files have another delimiter, or lack a column
        assert "Traceback" not in result.err
        for path in (tmp_path / "in").rglob("*.csv"):
            path.unlink()
        result = score(scoreline, bundle, tmp_path, f"{option} = {json.dumps(value)}")
    assert result.code == 0, result.err
    after = parts(tmp_path / "out")
    for name in before:
        if name in parquet:
            assert after[name] == before[name]
            assert (tmp_path / "out" / name).read_bytes() == bytes_before[name]
        elif option not in ("delimiter", "columns"):
            recorded = json.loads(after[name][1] or "{}")
            assert list(recorded) == [option]
    alone = score(scoreline, bundle, tmp_path, f"{option} = {json.dumps(value)}")
    assert "nothing_to_do" in alone.err


def test_a_decimal_comma_and_folders(scoreline: Command, bundle: Path, tmp_path: Path) -> None:
    """For Parquet files, a key in the path has a decimal point, regardless of the dialect of CSV files."""
    inputs(tmp_path / "in")
    for path in (tmp_path / "in").rglob("*.csv"):
        path.unlink()
    assert score(scoreline, bundle, tmp_path, "decimal = ','\nnulls = ['7', '2.5']").code == 0
    rows = [row for rows, _ in parts(tmp_path / "out").values() for row in rows]
    assert [row["prediction"] for row in rows] == SUMS


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
@pytest.mark.parametrize("packed", [0, 1, 2])
def test_gzip_is_detected_by_its_bytes(
    scoreline: Command, bundle: Path, tmp_path: Path, name: str, packed: int
) -> None:
    """Not by the name: uncompressed, compressed, or compressed in two members."""
    text = "id,a,h\n" + "".join(f"{n},{n},1\n" for n in range(1000))
    (tmp_path / "in").mkdir()
    pieces = [text.encode()] if packed < 2 else [text[:999].encode(), text[999:].encode()]
    (tmp_path / "in" / name).write_bytes(b"".join(gzip.compress(p) if packed else p for p in pieces))
    assert score(scoreline, bundle, tmp_path, "").code == 0
    ((rows, _),) = parts(tmp_path / "out").values()
    assert [row["prediction"] for row in rows] == [n + 1.0 for n in range(1000)]


def test_gzip_files_that_are_truncated(scoreline: Command, bundle: Path, tmp_path: Path) -> None:
    """The file is refused; half of its rows are not scored."""
    text = "id,a,h\n" + "".join(f"{n},{n},1\n" for n in range(100_000))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(gzip.compress(text.encode())[:-100])
    result = score(scoreline, bundle, tmp_path, "")
    assert result.code == 65
    assert "a.csv: cannot be read as CSV" in result.message
