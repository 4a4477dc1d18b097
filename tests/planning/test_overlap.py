"""`refuse_overlap`: no run reads what it or an earlier one has written. A glob searches the folders it matches."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import OutputError, UsageError
from scoreline.pipeline.inputs.discover import Discovery, discover
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.planning.overlap import refuse_overlap
from scoreline.pipeline.records import Partition


def write(path: Path) -> Path:
    """A Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"a": [0.5]}), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty folder for inputs."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("where", "output", "refused"),
    [
        ("data", "data", True),
        ("data", "data/out", True),
        ("data/sub", "data", True),
        ("data", "out", False),
        ("data", "data2", False),
        ("data/*.parquet", "data/out", False),
        ("data/**/*.parquet", "data/out", True),
        ("data/**/*.pq", "data/out", True),
        ("data/*/*.parquet", "data/out", False),
        ("data/*", "data/out", True),
        ("data/s*", "data/out", False),
        ("data/in.parquet", "data/out", False),
        ("data/in.parquet", "data", True),
        ("data/sub/in.parquet", "data", True),
        ("data", "link/out", True),
    ],
)
def test_input_and_output(tmp_path: Path, where: str, output: str, refused: bool) -> None:
    write(tmp_path / "data" / "in.parquet")
    write(tmp_path / "data" / "sub" / "in.parquet")
    write(tmp_path / "data" / "in.pq")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    given, out = str(tmp_path / where), str(tmp_path / output)
    job = ScoreJob(bundle="b", input=given, output=out, run_id="r")
    if refused:
        with pytest.raises(OutputError, match="choose an"):
            refuse_overlap(discover(given), job)
    else:
        refuse_overlap(discover(given), job)


@pytest.mark.parametrize(
    ("output", "refused"),
    [
        ("s3://bucket/t/out", True),
        ("s3://bucket/t", True),
        ("s3://bucket", True),
        ("s3://bucket/t2", False),
        ("s3://other/t", False),
        ("out", False),
    ],
)
def test_tables_in_object_storage(output: str, refused: bool) -> None:
    """Are folders, also those with one data file."""
    file = Partition(path="s3://bucket/t/a.parquet", name="a.parquet", format="parquet", size=1, mtime_ns=1)
    found = Discovery(real_root="s3://bucket/t", partitions=(file,), table_version="0")
    job = ScoreJob(bundle="b", input="delta+s3://bucket/t", output=output, run_id="r")
    if refused:
        with pytest.raises(OutputError, match="overlap; choose an --output outside the input"):
            refuse_overlap(found, job)
    else:
        refuse_overlap(found, job)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (" ", "the output is an empty path; pass a folder with --output"),
        ("ftp://b/out", "output 'ftp://b/out' is a URL, but only local paths and s3://, gs:// and az:// URIs are"),
    ],
)
def test_outputs_that_are_not_paths(data: Path, output: str, message: str) -> None:
    write(data / "in.parquet")
    with pytest.raises(UsageError, match=message):
        refuse_overlap(discover(str(data)), ScoreJob(bundle="b", input=str(data), output=output, run_id="r"))
