"""Versions of Delta tables, as deltalake writes them and as other writers may."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import DataError, NoInputError
from scoreline.pipeline.inputs.discover import Discovery, discover
from scoreline.pipeline.parquet.file import ParquetSource

from object_storage import Storage

deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed (make engines)")
polars = pytest.importorskip("polars", reason="polars is not installed (make engines)")

DAYS = ["2026-11-01", "a b/é", None, "new"]


def rows(start: int, days: list[str | None] | None = None) -> pa.Table:
    """Four rows, each of another day."""
    return pa.table({"x": range(start, start + 4), "day": pa.array(days or DAYS, pa.string())})


def write(where: Path | str, table: pa.Table, **options: Any) -> None:
    """Write a version."""
    deltalake.write_deltalake(where, table, **options)


def scored(found: Discovery) -> list[tuple[Any, ...]]:
    """The rows of the data files with the keys of their folders, as a run reads them."""
    read = []
    for partition in found.partitions:
        with ParquetSource(partition.path, name=partition.name, etag=partition.etag) as source:
            keys = tuple(value for _, value in partition.hive)
            read += [(*row.values(), *keys) for row in source.read().to_pylist()]
    return sorted(read, key=repr)


def independent(where: Path | str, version: int | None = None) -> list[tuple[Any, ...]]:
    """The rows of the table, read by polars."""
    return sorted(polars.read_delta(str(where), version=version).rows(), key=repr)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five versions: two appends, a deletion of whole files, a compaction, an overwrite.."""
    where = tmp_path / "table@home"
    write(where, rows(0), partition_by=["day"])
    write(where, rows(4), mode="append")
    deltalake.DeltaTable(where).delete("day = '2026-11-01'")
    deltalake.DeltaTable(where).optimize.compact()
    write(where, rows(8, ["new"] * 4), mode="overwrite")
    return where


def test_every_version(table: Path) -> None:
    """Has the rows that other readers find."""
    for version in range(5):
        found = discover(f"delta+{table}@{version}")
        assert found.table_version == str(version)
        assert scored(found) == independent(table, version)
    assert scored(discover(f"delta+{table}")) == independent(table)
    assert discover(f"delta+{table}").table_version == "4"


def test_names_and_keys(tmp_path: Path) -> None:
    """Are those of the folders, whatever the values; other files in the folder are not inputs."""
    days, where = ["p%2F+q#?", "{run}", None, "a=b"], tmp_path / "t"
    write(where, rows(0, days), partition_by=["day"])
    pq.write_table(rows(0), where / "stray.parquet")
    found = discover(f"delta+{where}")
    assert {partition.hive for partition in found.partitions} == {(("day", day),) for day in days}
    assert all((where / partition.name).is_file() for partition in found.partitions)
    assert all(partition.mtime_ns and partition.inode and partition.size for partition in found.partitions)
    assert (found.real_root, found.ignored) == (str(where.resolve()), ())


def test_a_folder_of_any_name(table: Path, tmp_path: Path) -> None:
    """Is a path, and never decoded."""
    for name in ("a b%20c", "x@7", "s3:y", "é#?[1]"):
        moved = table.rename(tmp_path / name)
        assert len(discover(f"delta+{moved}/").partitions) == 1
        moved.rename(table)


def test_duckdb_reads_the_same(table: Path) -> None:
    """From the files that were found."""
    found = discover(f"delta+{table}")
    names = [partition.path for partition in found.partitions]
    assert sorted(duckdb.read_parquet(names).select("x").fetchall()) == [(n,) for n in range(8, 12)]


@pytest.mark.parametrize("checkpoint", [False, True])
def test_objects(storage: Storage, table: Path, checkpoint: bool) -> None:
    """Are found with the credentials of every other object, at any version."""
    if checkpoint:
        deltalake.DeltaTable(table).create_checkpoint()
        write(table, rows(12, ["newer"] * 4), mode="append")
    uri = storage.upload(table, "lake/table/")
    for version in (*range(5 + checkpoint), None):
        where = f"delta+{uri.rstrip('/')}" + (f"@{version}" if version is not None else "")
        found = discover(where)
        assert found.table_version == str(4 + checkpoint if version is None else version)
        assert scored(found) == independent(table, version)
        assert all(partition.etag for partition in found.partitions)
    with storage.requests() as requests:
        discover(f"delta+{uri}@{4 + checkpoint}")
    listings = [one for one in requests if "list-type=2" in one.query]
    assert len(listings) == 2
    assert len(requests) - len(listings) == (3 if checkpoint else 5)  # the log
    with pytest.raises(NoInputError, match=r"no version 9: its log has versions 0 to"):
        discover(f"delta+{uri}@9")


def test_a_table_that_was_written_to_a_bucket(storage: Storage) -> None:
    """Has the same keys."""
    where = f"{storage.uri}/my lake/t"
    days = [*DAYS[:3], "p%2F+q"]
    options = {"AWS_ALLOW_HTTP": "true", "AWS_S3_ALLOW_UNSAFE_RENAME": "true"}
    write(where, rows(0, days), partition_by=["day"], storage_options=options)
    found = discover(f"delta+{where}")
    assert scored(found) == sorted(zip(range(4), days, strict=True), key=repr)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("{}@5", "has no version 5: its log has versions 0 to 4"),
        ("{}-missing", "there is no Delta table at .*-missing'"),
        ("{}/day=new", "there is no Delta table at"),
    ],
)
def test_what_does_not_exist(table: Path, where: str, message: str) -> None:
    """Is named, with the versions that exist."""
    with pytest.raises(NoInputError, match=message):
        discover(f"delta+{where.format(table)}")


def test_what_has_no_rows(table: Path) -> None:
    """A table from which all was deleted, and a version whose log was removed."""
    deltalake.DeltaTable(table).delete()
    with pytest.raises(NoInputError, match=r"version 5 of the Delta table .* has no rows: it has no data files"):
        discover(f"delta+{table}")
    (table / "_delta_log" / f"{1:020d}.json").unlink()
    with pytest.raises(DataError, match=r"cannot be read: .*; use another version"):
        discover(f"delta+{table}")


def test_a_vacuumed_version(table: Path) -> None:
    """Names the file that is gone."""
    deltalake.DeltaTable(table).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(discover(f"delta+{table}").partitions) == 1
    with pytest.raises(DataError, match=r"data file 'day=.*' of version 1 of the Delta table .* does not exist in"):
        discover(f"delta+{table}@1")


@pytest.mark.parametrize(
    "values",
    [
        pa.array([date(2026, 11, 1), None], pa.date32()),
        pa.array([datetime(2026, 11, 1, 2, 3, 4, 500000), None], pa.timestamp("us")),
        pa.array([datetime(2026, 11, 1, 2, 3, 4, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        pa.array([Decimal("1.50"), Decimal("-2.00")], pa.decimal128(10, 2)),
        pa.array([-3, None], pa.int16()),
        pa.array([0.1, 1e-7], pa.float32()),
        pa.array([True, False]),
    ],
    ids=lambda values: str(values.type),
)
def test_types_of_partition_columns(tmp_path: Path, values: pa.Array) -> None:
    """Values in paths are compared as values of the type, since a float has many texts."""
    write(tmp_path / "t", pa.table({"x": [1, 2], "p": values}), partition_by=["p"])
    assert len(discover(f"delta+{tmp_path}/t").partitions) == 2


def forge(folder: Path, *, features: tuple[str, ...] = (), reader: int = 3, path: str = "day=1/a.parquet",
          day: str | None = "1", is_mapped: bool = False, configuration: dict[str, str] | None = None,
          **add: Any) -> str:  # fmt: skip
    """A table with one file and the log of another writer."""
    (folder / "day=1").mkdir(parents=True)
    (folder / "_delta_log").mkdir()
    pq.write_table(pa.table({"x": [1, 2]}), folder / "day=1" / "a.parquet")
    fields = [
        {"name": name, "type": kind, "nullable": True, "metadata": MAPPED[name] if is_mapped else {}}
        for name, kind in (("x", "long"), ("day", "string"))
    ]
    protocol: dict[str, Any] = {"minReaderVersion": reader, "minWriterVersion": 7, "writerFeatures": list(features)}
    if reader == 3:
        protocol["readerFeatures"] = list(features)
    metadata = {
        "id": "b821386a-fce6-4e89-a2e3-e556c2e2dd1b",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [] if is_mapped else ["day"],
        "createdTime": 1,
        "configuration": configuration or {},
    }
    added = {
        "path": path, "partitionValues": {"day": day}, "size": 400, "modificationTime": 1, "dataChange": True, **add,
    }  # fmt: skip
    actions = [{"protocol": protocol}, {"metaData": metadata}, {"add": added}]
    (folder / "_delta_log" / f"{0:020d}.json").write_text("\n".join(map(json.dumps, actions)))
    return f"delta+{folder}"


VECTOR = {
    "storageType": "u",
    "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^",
    "offset": 4,
    "sizeInBytes": 40,
    "cardinality": 6,
}
MAPPED = {
    name: {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{number}"}
    for number, name in enumerate(("x", "day"), 1)
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"features": ("deletionVectors",), "deletionVector": VECTOR},
            "has deletion vectors, so its files contain rows",
        ),
        (
            {"features": ("columnMapping",), "configuration": {"delta.columnMapping.mode": "name"}, "is_mapped": True},
            r"maps its columns by name \(delta\.columnMapping\.mode\)",
        ),
        (
            {"reader": 2, "configuration": {"delta.columnMapping.mode": "id"}, "is_mapped": True},
            r"maps its columns by id \(delta\.columnMapping\.mode\)",
        ),
        ({"features": ("typeWidening",)}, "has the feature 'typeWidening', which is not supported"),
        ({"features": ("futureRows",)}, "cannot be read: .*'futureRows' is not supported"),
        ({"day": "2"}, "data file 'day=1/a.parquet' of .* has day = '2' in the log, but '1' in its path"),
        ({"day": None}, "has day = None in the log, but '1' in its path"),
        ({"path": "a.parquet"}, r"in folders of the keys \[\], but the table is partitioned by \['day'\]"),
        ({"path": "day=1/hour=2/a.parquet"}, r"of the keys \['day', 'hour'\], but the table is partitioned"),
        ({"path": "s3://elsewhere/day=1/a.parquet"}, "is not below"),
        ({"path": "../day=1/a.parquet"}, "is not below"),
    ],
)
def test_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Before anything is scored, whatever the files contain."""
    with pytest.raises(DataError, match=message):
        discover(forge(tmp_path / "t", **options))


def test_features_that_are_supported(tmp_path: Path) -> None:
    """Deletion vectors that no file has, a mapping that is not used."""
    features = ("deletionVectors", "columnMapping", "timestampNtz", "v2Checkpoint")
    configuration = {"delta.columnMapping.mode": "none"}
    (partition,) = discover(forge(tmp_path / "t", features=features, configuration=configuration)).partitions
    assert (partition.name, partition.format) == ("day=1/a.parquet", "parquet")
