"""The parts of an output as the files of a table, without a table format."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.engines.tables.files import TableFiles, read_files, refuse_types
from scoreline.pipeline.errors import ColumnError, DataError
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest, read_record

from conftest import Example, Result


@pytest.fixture
def days(tmp_path: Path, iris: Example) -> Path:
    """Inputs of two days, with a category."""
    for day in ("1", "a%20b"):
        (tmp_path / "data" / f"day={day}").mkdir(parents=True)
        frame = iris.frame.assign(species=iris.frame["truth"].astype(str).astype("category"))
        frame.to_parquet(tmp_path / "data" / f"day={day}" / "a.parquet", index=False)
    return tmp_path / "data"


@pytest.fixture
def found(score: Callable[..., Result], days: Path, tmp_path: Path) -> Callable[[], TableFiles]:
    """Score the inputs and read the parts."""

    def call() -> TableFiles:
        assert score(days, "--prune").code == 0
        store = FolderStore(tmp_path / "out")
        return read_files(store, list(read_record(store, read_manifest(store)).parts()))

    return call


def test_files(found: Callable[[], TableFiles], tmp_path: Path) -> None:
    """Sizes, rows, and the keys of their folders; categories are text."""
    files = found()
    assert (files.keys, files.num_rows, [file.partition for file in files.files]) == (("day",), 300, [("1",), ("a b",)])
    for file in files.files:
        assert file.num_bytes == (tmp_path / "out" / file.name).stat().st_size
    assert files.table_schema().field("species").type == pa.string()
    assert files.table_schema().names[-1] == "day"


def test_columns_in_another_order(found: Callable[[], TableFiles], days: Path) -> None:
    """Are the same columns; another type is refused."""
    table = pq.read_table(days / "day=1" / "a.parquet")
    pq.write_table(table.select(table.schema.names[::-1]), days / "day=1" / "a.parquet")
    assert found().num_rows == 300
    changed = table.set_column(0, "row_id", table["row_id"].cast(pa.float64()))
    pq.write_table(changed, days / "day=1" / "a.parquet")
    with pytest.raises(ColumnError, match=r"column 'row_id' is double in day=1/a\.parquet and int64 in day=a%20b/a\.p"):
        found()


def test_keys(found: Callable[[], TableFiles], days: Path) -> None:
    """All parts have the same, and none is also a column."""
    pq.write_table(pq.read_table(days / "day=1" / "a.parquet"), days / "top.parquet")
    with pytest.raises(ColumnError, match=r"day=1/a\.parquet and top\.parquet are in folders with different keys"):
        found()
    (days / "top.parquet").unlink()
    for file in days.rglob("*.parquet"):
        pq.write_table(pq.read_table(file).append_column("day", pa.nulls(150, pa.string())), file)
    with pytest.raises(ColumnError, match="the folder 'day'= is also a column"):
        found()


def test_another_part(found: Callable[[], TableFiles], tmp_path: Path) -> None:
    """Than the one that was recorded is refused."""
    found()
    out = tmp_path / "out"
    (out / "day=1" / "a.parquet").write_bytes((out / "day=a%20b" / "a.parquet").read_bytes())
    store = FolderStore(out)
    with pytest.raises(
        DataError, match=r"day=1/a\.parquet is not the part that the run recorded; see scoreline verify"
    ):
        read_files(store, list(read_record(store, read_manifest(store)).parts()))


@pytest.mark.parametrize(
    ("arrow_type", "message"),
    [
        (pa.uint8(), "column 'odd' is uint8, which Delta Lake does not have; cast it"),
        (pa.list_(pa.uint8()), "column 'odd' is list<element: uint8>, with uint8 in it"),
        (pa.map_(pa.string(), pa.struct([("n", pa.uint8())])), "with uint8 in it, which Delta Lake does not have"),
    ],
    ids=str,
)
def test_types(arrow_type: pa.DataType, message: str) -> None:
    """At any nesting, with the name of the column."""
    files = TableFiles(schema=pa.schema([("good", pa.int64()), ("odd", arrow_type)]), keys=(), files=())
    refuse_types(files, lambda one: pa.types.is_integer(one) or pa.types.is_string(one), "Delta Lake")
    with pytest.raises(ColumnError) as refused:
        refuse_types(files, lambda one: one in (pa.int64(), pa.string()), "Delta Lake")
    assert message.replace("element", "item") in str(refused.value)
    assert refused.value.column == "odd"
