"""Opening the rejects of a part: the file that the part was published with, or an error that names it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.monitoring.parts import OutputPart, output_parts
from scoreline.pipeline.monitoring.reject_files import opened_rejects
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest, read_record
from scoreline.schemas.run import HeadRecord

from scored_outputs import write_scored

HEAD = HeadRecord(name="output", task="regression", labels=[], columns=["prediction"])


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An output of nine rows, of which two are rejected."""
    table = pa.table({"id": range(9), "prediction": pa.array(range(9), pa.float64())})
    return FolderStore(write_scored(tmp_path / "out", {"x.parquet": table}, HEAD, rejected={"x.parquet": {3, 7}}))


def only_part(store: FolderStore) -> OutputPart:
    (part,) = output_parts(read_record(store, read_manifest(store)))
    return part


def test_the_rows(store: FolderStore) -> None:
    with opened_rejects(store, only_part(store)) as reader:
        assert reader.read_all()["reject"].combine_chunks().field("row_number").to_pylist() == [3, 7]


def other_rows(file: Path) -> None:
    """A valid file of the same schema."""
    table = pa.ipc.open_file(str(file)).read_all()
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table.slice(1))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "cannot be read: .*No such file"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "does not match the receipt of x.parquet"),
        (other_rows, "does not match the receipt of x.parquet"),
    ],
    ids=["gone", "cut", "other rows"],
)
def test_another_file(store: FolderStore, harm: Callable[[Path], object], message: str) -> None:
    part = only_part(store)
    harm(store.path(str(part.rejects)))
    wanted = pytest.raises(DataError, match=rf"^{part.rejects}: {message}.*; run scoreline verify$")
    with wanted, opened_rejects(store, part):
        pass


def test_a_foreign_part(store: FolderStore) -> None:
    """Says nothing about its rejects."""
    part = only_part(store)
    pq.write_table(pa.table({"id": [1]}), store.path(part.target))
    wanted = pytest.raises(DataError, match=r"^x\.parquet: is foreign; run scoreline verify$")
    with wanted, opened_rejects(store, part):
        pass
