"""The output below a prefix in an object store, against a real S3 server on the loopback interface."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scoreline.pipeline.digests import sha256
from scoreline.pipeline.errors import OutputError, OutputLockedError, StorageError
from scoreline.pipeline.outputs.object_store import ObjectStore
from scoreline.pipeline.outputs.store import HISTORY, SUCCESS, Store
from scoreline.pipeline.outputs.stores import open_store
from scoreline.pipeline.storage import lease

from object_storage import LOSE, Request, Storage, every_service


@pytest.fixture
def store(storage: Storage) -> Store:
    """An output that nothing has been written to."""
    return open_store(f"{storage.uri}/some/out")


def finished(store: Store, data: bytes = b"rows") -> Path:
    """A temporary file that is ready to be published."""
    path = store.temporary("a.parquet")
    path.write_bytes(data)
    return path


@every_service
def test_only_what_readers_see_is_listed(store: Store, storage: Storage) -> None:
    """In the order of names; markers of folders that consoles create do not count as parts."""
    names = ["b.parquet", "d=1/a b.parquet", "x.txt"]
    for name in [*names, ".x.parquet", "_rejects/b.arrow", "_scoreline/run.json", "_y/z.parquet"]:
        storage.put(f"some/out/{name}", b"1")
    for marker in ("some/out/", "some/out/d=1/", "some/outside.parquet"):
        storage.put(marker, b"")
    assert [entry.name for entry in store.entries() if entry.name != "d=1"] == names
    assert next(store.entries()).path == store.path("b.parquet") == f"{store.root}/b.parquet"
    assert list(store.parquet_files()) == ["b.parquet", "d=1/a b.parquet"]
    assert list(store.rejects_files()) == ["_rejects/b.arrow"]
    kinds = {name: store.kind(name) for name in ("b.parquet", "_scoreline", "c", "_rejects/b.arrow")}
    assert kinds == {"b.parquet": "file", "_scoreline": "folder", "c": "missing", "_rejects/b.arrow": "file"}


@every_service
def test_kinds_without_a_listing(store: Store, storage: Storage) -> None:
    """Each takes a request or two."""
    storage.put("some/out/_scoreline/run.json", b"{}")
    assert store.has_earlier_run()
    assert [store.kind(name) for name in ("_scoreline/run.json", "_SUCCESS")] == ["file", "missing"]


@every_service
def test_publishing(store: Store, storage: Storage) -> None:
    """The object has the bytes, its ETag is returned, and the service keeps the digest."""
    path = finished(store)
    stored = store.publish(path, "d/a.parquet", sha256(b"rows"))
    assert stored == (4, storage.bucket.head("some/out/d/a.parquet").etag)
    assert not path.exists()
    assert store.read("d/a.parquet") == b"rows"
    assert (store.etag("d/a.parquet"), store.kept_digest("d/a.parquet")) == (stored.etag, sha256(b"rows"))
    with store.local("d/a.parquet") as copy:
        assert copy.read_bytes() == b"rows"
    assert not copy.exists()


@every_service
def test_an_object_of_another_program_is_not_overwritten(store: Store, storage: Storage) -> None:
    """Neither one that has appeared since the listing, nor one that has changed."""
    store.refresh()
    storage.put("some/out/a.parquet", b"other")
    with pytest.raises(StorageError, match=r"a\.parquet was changed by another program during the run"):
        store.publish(finished(store), "a.parquet", sha256(b"rows"))
    store.refresh()
    storage.put("some/out/a.parquet", b"another")
    with pytest.raises(StorageError, match="was changed by another program"):
        store.publish(finished(store), "a.parquet", sha256(b"rows"))
    assert storage.bucket.read("some/out/a.parquet") == b"another"
    store.refresh()
    store.publish(finished(store), "a.parquet", sha256(b"rows"))
    assert storage.bucket.read("some/out/a.parquet") == b"rows"


@every_service
def test_an_answer_that_is_lost(store: Store, storage: Storage) -> None:
    """The object is there, and is known to be the one that was written."""
    lost: list[str] = []

    def lose_first(request: Request) -> object:
        if request.method == "PUT" and request.path not in lost:
            lost.append(request.path)
            return LOSE
        return None

    with storage.answering(lose_first):
        created = store.publish(finished(store), "a.parquet", sha256(b"rows"))
        store.refresh()
        lost.clear()
        replaced = store.publish(finished(store, b"more rows"), "a.parquet", sha256(b"more rows"))
    assert created.etag != replaced.etag == storage.bucket.head("some/out/a.parquet").etag


@every_service
def test_small_files(store: Store, storage: Storage) -> None:
    """Written, replaced and removed; a page has the type of a page."""
    store.write(SUCCESS, b"")
    store.write("_scoreline/report.html", b"<p>")
    store.write("_scoreline/report.html", b"<p>1")
    assert store.read("_scoreline/report.html") == b"<p>1"
    store.remove(SUCCESS)
    store.remove(SUCCESS)
    assert [one.key for one in storage.bucket.list()] == ["some/out/_scoreline/report.html"]


@every_service
def test_lines_of_a_log(store: Store) -> None:
    """Each is an object, named so that they are read in order."""
    assert store.lines(HISTORY) == []
    for number in range(3):
        store.add_line(HISTORY, b"%d" % number)
    assert store.lines(HISTORY) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("ignored", ["If-None-Match", "If-Match"])
def test_a_service_without_conditional_writes(store: Store, storage: Storage, ignored: str) -> None:
    """It is refused: two runs could damage each other's output."""
    storage.server.ignored = (ignored,)
    try:
        with pytest.raises(OutputError, match="does not support conditional writes"):
            store.prepare()
    finally:
        storage.server.ignored = ()
    assert not list(storage.bucket.list())
    store.prepare()


@every_service
def test_many_check_a_service_at_once(storage: Storage) -> None:
    """And none takes the others' requests for a service that compares nothing. One object remains."""
    stores = [open_store(f"{storage.uri}/out") for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(lambda store: [store.prepare() for _ in range(5)], stores))
    assert list(storage.objects()) == ["out/_scoreline/probe"]


@every_service
def test_locks(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run and shards exclude each other; shards do not."""
    monkeypatch.setattr(lease, "BEAT_S", 0.1)
    first, second = (open_store(f"{storage.uri}/out") for _ in range(2))
    with first.lock("run-1"):
        assert first.lock_record() == second.lock_record()
        for taken in (second.lock("run-2"), second.lock_shard("00001-of-00002", "run-2")):
            with pytest.raises(OutputLockedError, match=r"is locked by process \d+ on .*, run run-1; try again"), taken:
                pass
    with first.lock_shard("00001-of-00002", "run-1"), second.lock_shard("00002-of-00002", "run-2"):
        with pytest.raises(OutputLockedError, match="run run-1"), second.lock_shard("00001-of-00002", "run-3"):
            pass
        with pytest.raises(OutputLockedError, match="run run-1"), second.lock("run-3"):
            pass
    with second.lock("run-4"):
        pass


@every_service
def test_nothing_is_written_with_a_lock_that_may_be_lost(
    store: Store, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the change is."""
    with store.lock("run-1"):
        monkeypatch.setattr(lease, "LIFETIME_S", 0.0)
        for change in (
            lambda: store.publish(finished(store), "a.parquet", sha256(b"rows")),
            lambda: store.write(SUCCESS, b""),
            lambda: store.remove("b.parquet"),
        ):
            with pytest.raises(StorageError, match=r"the lock of .* may be lost: it was not renewed"):
                change()
    assert all("_scoreline/lock/" in one.key for one in storage.bucket.list())


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, storage: Storage) -> None:
    """Said before anything is asked."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with storage.requests() as requests, pytest.raises(OutputError, match="there are no credentials for S3"):
        open_store("s3://another-bucket/out")
    assert not requests


@every_service
def test_temporary_files_are_removed_with_the_store(store: ObjectStore) -> None:
    """They are in a private folder on the local disk."""
    path = finished(store)
    folder = path.parent
    store._close()
    assert not folder.exists()


@every_service
def test_the_holder_of_a_lock_is_said_in_json(store: Store, storage: Storage) -> None:
    """For a person who looks into the bucket."""
    with store.lock("run-1"):
        (held,) = [one.key for one in storage.bucket.list() if one.key.endswith(".held")]
        assert json.loads(storage.bucket.read(held))["run_id"] == "run-1"
