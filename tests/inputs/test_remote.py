"""Inputs in object storage are found like local files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import NoInputError, UsageError
from scoreline.pipeline.inputs.discover import discover, is_unchanged, unchanged

from object_storage import Storage

FILES = (
    *("a.csv", "b.parquet", "notes.txt", "_hidden.csv", "d=1/a.csv", "d=1/e=x%2Fy/b.csv.gz", "d=1/_tmp/c.csv"),
    *("d=2/a.csv", "d=2/.x.csv", "other/deep/er/z y.PARQUET", "other/a.csv"),
)


def fill(storage: Storage, folder: Path) -> None:
    """The same files in a folder and below `in/`."""
    for name in FILES:
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    storage.upload(folder / "in", "in/")


def found(where: str) -> object:
    """What is found, without what differs between files and objects; or the kind of error."""
    try:
        discovery = discover(where)
    except (NoInputError, UsageError) as error:
        return type(error)
    return discovery.ignored, [(one.name, one.format, one.size, one.hive) for one in discovery.partitions]


@pytest.mark.parametrize(
    "below",
    [
        "",
        "/",
        "/d=1",
        "/d=1/",
        "/a.csv",
        "/notes.txt",
        "/_hidden.csv",
        "/missing",
        "/missing.csv",
        "/d=1/a.csv",
        "/other/",
    ],
)
def test_a_folder_or_a_file(storage: Storage, tmp_path: Path, below: str) -> None:
    """By its URI."""
    fill(storage, tmp_path)
    assert found(f"{storage.uri}/in{below}") == found(f"{tmp_path}/in{below}")


STEPS = st.sampled_from(
    ["*", "**", "d=*", "d=?", "[ab].csv", "*.csv", "a.csv", "e=*", "other", "*.parquet", "_*", "b*"]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=4), end=st.sampled_from(["", "/"]))
@example(steps=["*", "**"], end="")
def test_any_glob(storage: Storage, tmp_path: Path, steps: list[str], end: str) -> None:
    """Finds the same names in one listing."""
    if not (tmp_path / "in").exists():
        fill(storage, tmp_path)
    glob = "/".join(steps) + end
    if not any(sign in glob for sign in "*?["):
        return
    with storage.requests() as requests:
        objects = found(f"{storage.uri}/in/{glob}")
    assert objects == found(f"{tmp_path}/in/{glob}")
    assert [one.method for one in requests] == ["GET"]


def test_a_prefix_is_one_listing(storage: Storage, tmp_path: Path) -> None:
    """No object is asked for on its own; a partition has what the listing says."""
    fill(storage, tmp_path)
    with storage.requests() as requests:
        discovery = discover(f"{storage.uri}/in/")
    assert len(requests) == 1
    assert discovery.real_root == f"{storage.uri}/in"
    (first, *_) = discovery.partitions
    listed = storage.bucket.head("in/a.csv")
    assert (first.path, first.etag, first.mtime_ns, first.inode) == (
        *(f"{storage.uri}/in/a.csv", listed.etag, listed.modified_ns), 0,
    )  # fmt: skip


def test_a_whole_bucket(storage: Storage, tmp_path: Path) -> None:
    """With and without a slash."""
    fill(storage, tmp_path)
    assert found(storage.uri) == found(f"{storage.uri}/") == found(str(tmp_path))


def test_objects_that_mark_folders_are_no_inputs(storage: Storage) -> None:
    """Consoles create them; an empty object with a suffix is an input."""
    for key in ("in/", "in/d=1/", "in/d=2/"):
        storage.put(key, b"")
    storage.put("in/d=1/a.csv", b"x")
    storage.put("in/d=1/empty.csv", b"")
    discovery = discover(f"{storage.uri}/in/", format="csv")
    assert [one.name for one in discovery.partitions] == ["d=1/a.csv", "d=1/empty.csv"]
    assert discovery.ignored == ()


def test_only_empty_objects(storage: Storage) -> None:
    """There is nothing to score."""
    storage.put("in/empty.csv", b"")
    with pytest.raises(NoInputError, match="every file is empty"):
        discover(f"{storage.uri}/in/")


def test_keys_that_no_path_can_have(storage: Storage) -> None:
    """The reason is that of the library."""
    storage.put("in//a.csv", b"x")
    with pytest.raises(NoInputError, match="empty path segment"):
        discover(f"{storage.uri}/in/")


def test_an_object_is_unchanged_by_its_etag(storage: Storage) -> None:
    """Also if the new one has the same size."""
    storage.put("a.csv", b"1")
    (partition,) = discover(f"{storage.uri}/a.csv").partitions
    assert is_unchanged(partition)
    storage.put("a.csv", b"2")
    assert not is_unchanged(partition)
    storage.bucket.delete("a.csv")
    assert not is_unchanged(partition)


def test_the_unchanged_of_many(storage: Storage, tmp_path: Path) -> None:
    """In their order, for objects as for files."""
    for name in "abcd":
        (tmp_path / f"{name}.csv").write_bytes(name.encode())
    storage.upload(tmp_path)
    listed = [discover(where).partitions for where in (str(tmp_path), storage.uri)]
    (tmp_path / "b.csv").write_bytes(b"other")
    storage.put("b.csv", b"other")
    (tmp_path / "d.csv").unlink()
    storage.bucket.delete("d.csv")
    assert [[one.name for one in unchanged(partitions)] for partitions in listed] == [["a.csv", "c.csv"]] * 2


@pytest.mark.parametrize("where", ["s3://", "s3:///in", "s3://bucket//in"])
def test_malformed_uris(where: str) -> None:
    """Invalid options, before anything is asked."""
    with pytest.raises(UsageError, match="s3://"):
        discover(where)
