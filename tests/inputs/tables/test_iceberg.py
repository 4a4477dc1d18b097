"""Snapshots of Iceberg tables, as pyiceberg writes them and as other writers may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import DataError, NoInputError, UsageError
from scoreline.pipeline.inputs.discover import Discovery, discover
from scoreline.pipeline.parquet.file import ParquetSource

from object_storage import SECRET, Storage

catalogs = pytest.importorskip("pyiceberg.catalog", reason="pyiceberg is not installed (make engines)")
manifests = pytest.importorskip("pyiceberg.manifest")
Record = pytest.importorskip("pyiceberg.typedef").Record

DAYS = ["2026-11-01", "a b/é", None, "p%2F+q"]
pytestmark = pytest.mark.filterwarnings("default")


def rows(start: int, days: list[str | None] | None = None) -> pa.Table:
    """Four rows, each of another day."""
    lists = pa.array([[1], None, [], [2, None]], pa.list_(pa.int64()))
    return pa.table({"x": range(start, start + 4), "day": pa.array(days or DAYS, pa.string()), "lists": lists})


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A catalog in SQLite, configured as by a user."""
    settings = {"uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/a warehouse"}
    # pyiceberg reads its configuration once, when it is imported
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG.config", {"catalog": {"test": settings}})
    made = catalogs.load_catalog("test")
    made.create_namespace("sales")
    return made


@pytest.fixture
def table(catalog: Any) -> Any:
    """Five snapshots: two appends, a deletion of whole files, and an overwrite, which is two."""
    made = catalog.create_table("sales.daily", schema=rows(0).schema)
    with made.update_spec() as spec:
        spec.add_identity("day")
    made.append(rows(0))
    made.append(rows(4))
    made.delete("day = '2026-11-01'")
    made.overwrite(rows(8, ["new"] * 4))
    return made


def find(snapshot: int | None = None, *, name: str = "test:sales.daily") -> Discovery:
    """The data files of the table."""
    return discover(f"iceberg+{name}" + ("" if snapshot is None else f"@{snapshot}"))


def scored(found: Discovery) -> list[Any]:
    """The rows of the data files, as a run reads them."""
    read = []
    for partition in found.partitions:
        with ParquetSource(partition.path, name=partition.name, etag=partition.etag) as source:
            read += source.read().to_pylist()
    return sorted(read, key=repr)


def independent(table: Any, snapshot: int | None = None) -> list[Any]:
    """The rows of the table, read by pyiceberg."""
    return sorted(table.scan(snapshot_id=snapshot).to_arrow().to_pylist(), key=repr)


def test_every_snapshot(table: Any) -> None:
    """Has the rows that pyiceberg finds."""
    snapshots = [one.snapshot_id for one in table.snapshots()]
    assert len(snapshots) >= 4
    for snapshot in snapshots:
        if table.scan(snapshot_id=snapshot).count():
            found = find(snapshot)
            assert found.table_version == str(snapshot)
            assert scored(found) == independent(table, snapshot)
    assert find().table_version == str(snapshots[-1])
    assert scored(find()) == independent(table)


def test_names(table: Any, tmp_path: Path) -> None:
    """Are relative to the location of the table, which no output may be in."""
    found = find()
    root = tmp_path / "a warehouse" / "sales" / "daily"
    assert (found.real_root, found.searched) == (str(root), {str(root)})
    assert all(one.name.startswith("data/day=new/") and (root / one.name).is_file() for one in found.partitions)


def test_objects(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are found in one listing; pyiceberg has its own configuration of the service."""
    settings = {
        "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"{storage.uri}/warehouse",
        "s3.endpoint": storage.server.endpoint, "s3.access-key-id": "a-key-id", "s3.secret-access-key": SECRET,
    }  # fmt: skip
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG.config", {"catalog": {"test": settings}})
    catalog = catalogs.load_catalog("test")
    catalog.create_namespace("sales")
    table = catalog.create_table("sales.daily", schema=rows(0).schema)
    with table.update_spec() as spec:
        spec.add_identity("day")
    table.append(rows(0))
    found = find()
    assert found.real_root == f"{storage.uri}/warehouse/sales/daily"
    assert scored(found) == independent(table)
    assert all(partition.etag for partition in found.partitions)


def test_rows_that_are_deleted_from_a_file(table: Any) -> None:
    """Are gone: pyiceberg rewrites the file."""
    table.delete("x = 9")
    assert {row["x"] for row in scored(find())} == {8, 10, 11}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("test:sales.daily@7", NoInputError, r"the Iceberg table 'sales\.daily' has no snapshot 7; it has \d+, \d+"),
        ("test:sales.weekly", NoInputError, "'sales.weekly' does not exist in the catalog 'test'"),
        ("test:other.daily", NoInputError, "'other.daily' does not exist in the catalog 'test'"),
        ("prod:sales.daily", UsageError, "the Iceberg catalog 'prod' cannot be opened: .*; configure it"),
        ("test:sales.new", NoInputError, "'sales.new' has no rows: it has no snapshot"),
    ],
)
def test_what_does_not_exist(catalog: Any, table: Any, name: str, error: type[Exception], message: str) -> None:
    """Is named, with the snapshots that exist."""
    catalog.create_table("sales.new", schema=rows(0).schema)
    with pytest.raises(error, match=message):
        find(name=name)


def test_what_was_deleted(table: Any, tmp_path: Path) -> None:
    """All rows, a data file, the metadata."""
    before = table.current_snapshot().snapshot_id
    table.delete("x >= 0")
    with pytest.raises(NoInputError, match="has no rows: it has no data files"):
        find()
    (tmp_path / "a warehouse" / "sales" / "daily" / find(before).partitions[0].name).unlink()
    with pytest.raises(DataError, match=r"data file 'data/day=new/.*' of version \d+ of the Iceberg table .* does not"):
        find(before)
    Path(table.metadata_location.removeprefix("file://")).unlink()
    with pytest.raises(NoInputError, match=r"cannot be read: .*; check the catalog 'test'"):
        find(before)


def _rename(table: Any) -> None:
    with table.update_schema() as update:
        update.rename_column("x", "z")


def _drop(table: Any) -> None:
    with table.update_schema() as update:
        update.delete_column("x")


def _replace(table: Any) -> None:
    _drop(table)
    with table.update_schema() as update:
        update.add_column("x", table.schema().find_field("lists.element").field_type)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename, "column 'x' of data file .* is its column 'z'"),
        (_drop, "column 'x' of data file .* is not a column of it"),
        (_replace, "column 'x' of data file .* is not a column of it"),
    ],
)
def test_columns_that_have_changed(table: Any, change: Callable[[Any], None], message: str) -> None:
    """Since a file was written. An earlier snapshot has the columns of then; a new column is missing in old files."""
    before = table.current_snapshot().snapshot_id
    with table.update_schema() as update:
        update.add_column("later", table.schema().find_field("x").field_type)
    assert len(find().partitions) == 1
    change(table)
    with pytest.raises(DataError, match=message):
        find()
    assert scored(find(before)) == independent(table, before)


def add(table: Any, path: str, *, partition: tuple[str | None, ...] = ("1",), **values: Any) -> None:
    """Add a file to the metadata of a table."""
    file = manifests.DataFile.from_args(**{
        "content": manifests.DataFileContent.DATA, "file_path": path, "file_format": manifests.FileFormat.PARQUET,
        "partition": Record(*partition),
        "record_count": 4, "file_size_in_bytes": 1000, "column_sizes": {}, "value_counts": {}, "null_value_counts": {},
        "nan_value_counts": {}, "lower_bounds": {}, "upper_bounds": {}, "split_offsets": None, "sort_order_id": None,
        "spec_id": table.spec().spec_id, "equality_ids": None, "key_metadata": None, **values,
    })  # fmt: skip
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(file)


@pytest.fixture
def external(catalog: Any, tmp_path: Path) -> Any:
    """A table of files elsewhere, without ids, whose partition column is only in their paths, as `scoreline commit`
    makes it."""
    made = catalog.create_table("sales.external", schema=rows(0).schema)
    with made.update_spec() as spec:
        spec.add_identity("day")
    with made.transaction() as transaction:
        transaction.set_properties({"schema.name-mapping.default": made.schema().name_mapping.model_dump_json()})
    for day, value in (("a%20b", "a b"), ("__HIVE_DEFAULT_PARTITION__", None)):
        path = tmp_path / "elsewhere" / f"day={day}" / "a.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(rows(0).drop_columns(["day"]), path)
        add(made, f"file://{path}", partition=(value,))
    return made


def test_files_elsewhere(external: Any, tmp_path: Path) -> None:
    """Have names below the folder that they have in common, with their Hive keys."""
    found = find(name="test:sales.external")
    assert found.real_root == str(tmp_path / "elsewhere")
    assert {partition.hive for partition in found.partitions} == {(("day", "a b"),), (("day", None),)}
    first = external.snapshots()[0].snapshot_id
    assert [one.name for one in find(first, name="test:sales.external").partitions] == ["day=a%20b/a.parquet"]


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("{}/elsewhere/day=a%20b/b.parquet", {"partition": ("c",)}, "has no column 'day', whose value is 'c' in the"),
        ("{}/elsewhere/day=a%20b/a.parquet", {"partition": ("a b",)}, "has data file 'day=a%20b/a.parquet' twice"),
        ("{}/elsewhere/a.orc", {"file_format": "ORC"}, "a.orc' of .* is ORC, and only Parquet is supported"),
        ("hdfs://name/a.parquet", {}, "'hdfs://name/a.parquet' of .* is in a storage that is not supported"),
        ("s3a://bucket/a.parquet", {}, "have no common folder"),
        ("{}/elsewhere/../day=1/a.parquet", {}, "is not below"),
        ("{}/elsewhere/_x/a.parquet", {}, "is below '_x', and readers of the output would skip"),
    ],
)
def test_refused_files(external: Any, tmp_path: Path, path: str, values: dict[str, Any], message: str) -> None:
    """Before anything is scored."""
    elsewhere = tmp_path / "elsewhere" / "day=a%20b"
    pq.write_table(rows(0).drop_columns(["day"]), elsewhere / "b.parquet")
    if "file_format" in values:
        values = {"file_format": manifests.FileFormat[values["file_format"]]}
    add(external, path.format(tmp_path), **values)
    with pytest.raises(DataError, match=message):
        find(name="test:sales.external")


@pytest.mark.parametrize("content", ["POSITION_DELETES", "EQUALITY_DELETES"])
def test_deletes(external: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """Of rows, beside the data files."""
    # pyiceberg writes none: the manifest of the next file is declared to be one of deletes
    monkeypatch.setattr(manifests.ManifestWriterV2, "content", lambda _: manifests.ManifestContent.DELETES)
    add(external, str(tmp_path / "d.parquet"), content=manifests.DataFileContent[content])
    with pytest.raises(
        DataError, match=rf"has {content.lower().replace('_', ' ')}, so its data files contain rows that"
    ):
        find(name="test:sales.external")
