"""The data files of a version of a table, without a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from scoreline.pipeline.errors import DataError, NoInputError
from scoreline.pipeline.inputs.tables.snapshot import Snapshot, find_files

from object_storage import Storage


def snapshot(root: Path | str, *names: str) -> Snapshot:
    """A version of a table with these data files."""
    return Snapshot(table="the table", version="3", root=str(root), names=names)


def fill(folder: Path, *names: str) -> Path:
    """Files of different sizes."""
    for size, name in enumerate(names, 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(size))
    return folder


FILES = ("d=a%20b/2.parquet", "d=1/1.parquet", "0.parquet")


def test_files(tmp_path: Path) -> None:
    """Those of the version and no others, with the version and the folder that no output may be in."""
    fill(tmp_path / "t", *FILES, "d=1/older.parquet")
    (tmp_path / "link").symlink_to(tmp_path / "t")
    found = find_files(snapshot(tmp_path / "link", *FILES))
    assert [(one.name, Path(one.path).read_bytes()) for one in found.entries] == [
        (name, bytes(size)) for size, name in enumerate(FILES, 1)
    ]
    assert (found.table_version, found.root) == ("3", str(tmp_path / "link"))
    assert found.searched == {os.path.realpath(tmp_path / "t")}


@pytest.mark.parametrize("prefix", ["", "some/table"])
def test_objects(storage: Storage, tmp_path: Path, prefix: str) -> None:
    """Sizes and ETags of one listing."""
    storage.upload(fill(tmp_path, *FILES, "older.parquet"), f"{prefix}/".removeprefix("/"))
    root = f"{storage.uri}/{prefix}".rstrip("/") if prefix else f"{storage.uri}/"
    with storage.requests() as requests:
        found = find_files(snapshot(root, *FILES))
    assert [(one.method, one.path) for one in requests] == [("GET", f"/{storage.name}")]
    assert [(one.name, one.listed.size) for one in found.entries if one.listed] == [
        (name, size) for size, name in enumerate(FILES, 1)
    ]
    assert all(one.listed is not None and one.listed.etag for one in found.entries)
    with pytest.raises(DataError, match=r"data file 'd=1/2\.parquet' of version 3 of the table does not exist"):
        find_files(snapshot(root, "d=1/1.parquet", "d=1/2.parquet"))


def test_objects_below_a_common_folder(storage: Storage, tmp_path: Path) -> None:
    """Only that is listed."""
    storage.upload(fill(tmp_path, "t/data/a/1.parquet", "t/data/b/1.parquet", "t/metadata/1.json"))
    with storage.requests() as requests:
        find_files(snapshot(f"{storage.uri}/t", "data/a/1.parquet", "data/b/1.parquet"))
    assert [one.query for one in requests if "prefix=t%2Fdata%2F&" in f"{one.query}&"] == [requests[0].query]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.parquet", "data file 'gone.parquet' of version 3 of the table does not exist in"),
        ("folder", "data file 'folder' of version 3 of the table does not exist in"),
        ("../a.parquet", r"data file '\.\./a\.parquet' of the table is not below"),
        ("/a.parquet", "is not below"),
        ("s3://bucket/a.parquet", "is not below"),
        ("./a.parquet", "is not below"),
        (
            "_staged/a.parquet",
            "'_staged/a.parquet' of the table is below '_staged', and readers of the output would skip",
        ),
        ("a.parquet", "version 3 of the table has data file 'a.parquet' twice, and so its rows"),
    ],
)
def test_refused(tmp_path: Path, name: str, message: str) -> None:
    """With the name of the file."""
    fill(tmp_path, "a.parquet", "folder/b.parquet", "_staged/a.parquet")
    with pytest.raises(DataError, match=message):
        find_files(snapshot(tmp_path, "a.parquet", name))


def test_no_files(tmp_path: Path) -> None:
    """Are nothing to score."""
    with pytest.raises(NoInputError, match="version 3 of the table has no rows: it has no data files"):
        find_files(snapshot(tmp_path))


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not a missing file."""
    fill(tmp_path, "a.parquet")

    def refused(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(NoInputError, match=r"a\.parquet' cannot be read: Permission denied"):
        find_files(snapshot(tmp_path, "a.parquet"))
