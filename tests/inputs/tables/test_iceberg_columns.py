"""Files whose columns are, or are not, those of an Iceberg table, without a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.inputs.tables.iceberg_columns import DataFile, TableColumns, refuse_other_columns
from scoreline.pipeline.storage.folders import Entry

NAMES = {1: "x", 2: "p", 3: "p.a", 4: "t", 5: "t.element", 6: "m", 7: "m.key", 8: "m.value", 9: "m.value.b"}
MAPPING = {name: number for number, name in NAMES.items()}
TABLE = TableColumns(table="the table", names=NAMES, mapping=MAPPING)


def field(name: str, kind: Any, number: int) -> pa.Field:
    """A column with an id."""
    return pa.field(name, kind, metadata={"PARQUET:field_id": str(number)})


def columns(*, x: int = 1, a: str = "a", b: str = "b") -> pa.Schema:
    """The columns of a file, nested ones among them."""
    value = pa.struct([field(b, pa.int64(), 9)])
    return pa.schema([
        field("x", pa.int64(), x),
        field("p", pa.struct([field(a, pa.int64(), 3)]), 2),
        field("t", pa.list_(field("element", pa.int64(), 5)), 4),
        field("m", pa.map_(pa.field("key", pa.string(), nullable=False, metadata={"PARQUET:field_id": "7"}),
                           field("value", value, 8)), 6),
    ])  # fmt: skip


def compare(
    folder: Path, schema: pa.Schema, *, table: TableColumns = TABLE, name: str = "a.parquet",
    partition: Mapping[str, str | None] | None = None,
) -> None:  # fmt: skip
    """Check a file with some columns."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(schema.empty_table(), folder / name)
    entry = Entry(str(folder / name), name, "file", is_link=False)
    refuse_other_columns(table, [entry], [DataFile(path=entry.path, partition=partition or {})])


def test_the_columns_of_the_table(tmp_path: Path) -> None:
    """In any order, some of them, and with ids or names."""
    compare(tmp_path, columns())
    compare(tmp_path, pa.schema(list(columns())[::-2]))
    compare(tmp_path, pa.schema([pa.field("x", pa.int64()), pa.field("t", pa.list_(pa.int64()))]))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (columns(x=2), "column 'x' of data file 'a.parquet' is its column 'p': it was renamed"),
        (columns(x=77), "column 'x' of data file 'a.parquet' is not a column of it: it was dropped"),
        (columns(a="c"), "column 'p.c' of data file 'a.parquet' is its column 'p.a': it was renamed"),
        (columns(b="c"), "column 'm.value.c' of data file 'a.parquet' is its column 'm.value.b': it was renamed"),
        (
            pa.schema([*columns(), ("y", pa.int64())]),
            "column 'y' of data file 'a.parquet' is not a column of it",
        ),
        (pa.schema([("y", pa.int64())]), "column 'y' of data file 'a.parquet' is not a column of it"),
        (pa.schema([("p", pa.struct([("c", pa.int64())]))]), "column 'p.c' of data file 'a.parquet' is not a column"),
    ],
)
def test_other_columns(tmp_path: Path, schema: pa.Schema, message: str) -> None:
    """Are refused at any nesting."""
    with pytest.raises(DataError, match=message):
        compare(tmp_path, schema)


def test_names_that_were_mapped(tmp_path: Path) -> None:
    """Of a column that has another name now."""
    table = TableColumns(table="the table", names={1: "new"}, mapping={"old": 1, "new": 1})
    compare(tmp_path, pa.schema([("new", pa.int64())]), table=table)
    with pytest.raises(DataError, match=r"column 'old' of data file 'a.parquet' is its column 'new'"):
        compare(tmp_path, pa.schema([("old", pa.int64())]), table=table)


@pytest.mark.parametrize(
    ("name", "partition", "message"),
    [
        ("day=a%20b/a.parquet", {"day": "a b"}, ""),
        ("day=__HIVE_DEFAULT_PARTITION__/a.parquet", {"day": None}, ""),
        ("x=5/a.parquet", {"x": "6"}, ""),  # the column is in the file
        (
            "day=a+b/a.parquet",
            {"day": "a b"},
            "has no column 'day', whose value is 'a b' in the metadata and 'a\\+b' in",
        ),
        ("day=null/a.parquet", {"day": None}, "whose value is None in the metadata and 'null' in its path"),
        ("a.parquet", {"day": None}, "whose value is None in the metadata and missing in its path"),
    ],
)
def test_partition_columns(tmp_path: Path, name: str, partition: dict[str, str | None], message: str) -> None:
    """Are in the file, or their values in the path."""
    if not message:
        compare(tmp_path, columns(), name=name, partition=partition)
        return
    with pytest.raises(DataError, match=message):
        compare(tmp_path, columns(), name=name, partition=partition)


def test_a_broken_file(tmp_path: Path) -> None:
    """Is left to the run."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    entry = Entry(str(tmp_path / "a.parquet"), "a.parquet", "file", is_link=False)
    refuse_other_columns(TABLE, [entry], [DataFile(path=entry.path, partition={"day": "1"})])
