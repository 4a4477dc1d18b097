"""A format is one class and one entry in `FORMATS`: JSON lines, registered only here, work in all commands."""

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Generator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import PartitionError, one_line
from scoreline.pipeline.inputs.format import Format
from scoreline.pipeline.inputs.formats import FORMATS, format_by_suffix
from scoreline.pipeline.options import CsvDialect
from scoreline.pipeline.records import Partition, ReadRows

from conftest import Example, Result
from outcomes import recorded

Command = Callable[..., Result]


class JsonLines(Format):
    """A JSON object on each line."""

    name = "jsonl"
    suffixes = (".jsonl",)

    def read_schema(
        self, partition: Partition, dialect: CsvDialect, columns: Collection[str] | None = None
    ) -> tuple[pa.Schema, None]:
        """The schema that Arrow infers."""
        return self._table(partition).schema, None

    def read_rows(
        self,
        partition: Partition,
        schema: pa.Schema,
        *,
        header: Sequence[str],
        dialect: CsvDialect,
        block_rows: int,
        first_row: int = 0,
        threads: bool = False,
    ) -> Generator[ReadRows]:
        """Always reads from the start."""
        assert first_row == 0, "lines have no numbers"
        for batch in self._table(partition).select(schema.names).to_batches(block_rows):
            yield ReadRows(batch=batch)

    def _table(self, partition: Partition) -> pa.Table:
        try:
            return pyarrow.json.read_json(partition.path)
        except pa.ArrowException as error:
            raise PartitionError(f"{partition.name}: {one_line(error)}", partition=partition.name) from error


@pytest.fixture
def json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the format."""
    monkeypatch.setitem(FORMATS, "jsonl", JsonLines())


def written(frame: pd.DataFrame, folder: Path) -> Path:
    """Write the rows to two files, the second in a subfolder."""
    for name, part in {"a.jsonl": frame[:100], "b/c.jsonl": frame[100:]}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        part.to_json(folder / name, orient="records", lines=True, double_precision=15)
    return folder


@pytest.mark.usefixtures("json_lines")
class TestJsonLines:
    """JSON lines, from the files to a verified output."""

    def test_they_are_scored_like_parquet(self, tmp_path: Path, scoreline: Command, iris: Example) -> None:
        """Both give the same predictions, and a second run has nothing to do."""
        written(iris.frame, tmp_path / "in")
        iris.frame.to_parquet(tmp_path / "in.parquet")
        words = ["score", "--bundle", iris.bundle, "--log-format", "json"]
        assert scoreline(*words, "--input", tmp_path / "in", "--output", tmp_path / "out").code == 0
        assert scoreline(*words, "--input", tmp_path / "in.parquet", "--output", tmp_path / "usual").code == 0
        parts = [pq.read_table(tmp_path / "out" / name) for name in ("a.jsonl.parquet", "b/c.jsonl.parquet")]
        usual = pq.read_table(tmp_path / "usual" / "in.parquet")
        found = pa.concat_tables(parts).to_pandas()
        pd.testing.assert_frame_equal(found, usual.to_pandas(), check_exact=False, rtol=1e-5)
        before = (tmp_path / "out" / "a.jsonl.parquet").stat().st_mtime_ns
        assert scoreline(*words, "--input", tmp_path / "in", "--output", tmp_path / "out").code == 0
        assert (tmp_path / "out" / "a.jsonl.parquet").stat().st_mtime_ns == before

    def test_other_commands_support_it(self, tmp_path: Path, scoreline: Command, iris: Example) -> None:
        """Check, verify (which compares keys with the input) and evaluate."""
        folder = written(iris.frame, tmp_path / "in")
        checked = scoreline("check", "--bundle", iris.bundle, "--input", folder)
        assert checked.code == 0, checked.err
        scoreline("score", "--bundle", iris.bundle, "--input", folder, "--output", tmp_path / "out")
        assert {record["format"] for record in recorded(tmp_path / "out")} == {"jsonl"}
        verified = scoreline("verify", tmp_path / "out", "--json")
        assert verified.code == 0
        assert json.loads(verified.out)["keys_compared"] == 2
        evaluated = scoreline("evaluate", tmp_path / "out", "--label", "truth", "--json")
        assert json.loads(evaluated.out)["rows"] == len(iris.frame)

    def test_a_broken_file_fails_alone(self, tmp_path: Path, scoreline: Command, iris: Example) -> None:
        """The other file is scored."""
        folder = written(iris.frame, tmp_path / "in")
        (folder / "b" / "c.jsonl").write_text('{"a": ')
        result = scoreline("score", "--bundle", iris.bundle, "--input", folder, "--output", tmp_path / "out")
        assert result.code == 65
        assert "c.jsonl" in result.err
        assert (tmp_path / "out" / "a.jsonl.parquet").exists()


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.parquet", "parquet"), ("a.PQ", "parquet"), ("x/a.csv.gz", "csv"), ("a.csv", "csv"), ("a.jsonl", None)],
)
def test_the_suffix_determines_the_format(name: str, format: str | None) -> None:  # noqa: A002
    found = format_by_suffix(name)
    assert (None if found is None else found.name) == format


def test_formats_are_named_as_they_are_listed() -> None:
    assert all(name == format.name for name, format in FORMATS.items())  # noqa: A001
    suffixes = [suffix for one in FORMATS.values() for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix == suffix.lower() for suffix in suffixes)


def test_the_size_of_a_csv_file_bounds_its_rows(tmp_path: Path) -> None:
    """A compressed file has no bound."""
    partition = Partition(path=str(tmp_path / "a.csv"), name="a.csv", format="csv", size=9, mtime_ns=0)
    assert FORMATS["csv"].most_rows(partition) == 9
    packed = Partition(path=str(tmp_path / "a.csv.gz"), name="a.csv.gz", format="csv", size=9, mtime_ns=0)
    assert FORMATS["csv"].most_rows(packed) is None


def test_formats_do_not_import_arrow() -> None:
    """Since the command line lists them."""
    code = "import sys; import scoreline.pipeline.inputs.formats; assert not {'pyarrow', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
