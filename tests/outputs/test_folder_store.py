"""The output folder: what is visible in it, and that a file appears whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from scoreline.pipeline.errors import OutputError, StorageError
from scoreline.pipeline.outputs import folder_store as module
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import LOCK, MANIFEST, SUCCESS, WEAK, Store, Stored, storage_error


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An output that is ready to be written."""
    made = FolderStore(tmp_path / "out")
    made.prepare()
    return made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr(module, "sleep", lambda _seconds: None)


def failing(times: int, number: int, call: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    """The call, which fails so many times first; `after`: it succeeds, but reports a failure."""
    left = [times]

    def wrapped(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            if after:
                call(*args)
            raise OSError(number, os.strerror(number))
        return call(*args)

    return wrapped


def test_prepare_makes_folders_and_leaves_nothing(tmp_path: Path) -> None:
    """Parents included; a folder that a run has used is recognised."""
    store = FolderStore(tmp_path / "a" / "b")
    assert not store.has_earlier_run()
    store.prepare()
    assert store.has_earlier_run()
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_file_as_output_is_refused(tmp_path: Path) -> None:
    """As an output that cannot be created, with what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be created: .*; choose another output"):
        FolderStore(tmp_path / "file" / "out").prepare()


def test_nothing_is_visible_before_it_is_published(store: Store) -> None:
    """Then the file has its name and size, and its temporary file is gone."""
    path = store.temporary("d/a.parquet")
    path.write_bytes(b"12345")
    assert list(store.parquet_files()) == list(store.entries()) == []
    (temporary,) = store.temporaries()
    assert temporary.startswith("d/.scoreline-")
    assert store.publish(path, "d/b.parquet") == Stored(5, store.etag("d/b.parquet"))
    assert list(store.parquet_files()) == ["d/b.parquet"]
    assert store.read("d/b.parquet") == b"12345"
    assert store.temporaries() == []


def _write_in_place(path: Path) -> None:
    """Other bytes, the size and the time of modification stay."""
    state = path.stat()
    path.write_bytes(b"54321")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _replace_by_copy(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


@pytest.mark.parametrize(
    ("change", "rewritten"),
    [
        (lambda path: path.write_bytes(b"54321"), True),
        (lambda path: path.write_bytes(b"123456"), True),
        (lambda path: os.utime(path), True),
        (_write_in_place, False),
        (_replace_by_copy, False),
        (lambda path: path.chmod(0o600), False),
        (lambda path: os.link(path, path.with_name("link")), False),
    ],
    ids=["other bytes", "another size", "touch", "in place", "copy", "chmod", "hard link"],
)
def test_whatever_is_done_to_a_file_changes_its_etag(
    store: Store, change: Callable[[Path], Any], rewritten: bool
) -> None:
    """Only a new size or time of modification means other bytes: `is_rewritten`."""
    store.write("a.parquet", b"12345")
    before = store.etag("a.parquet")
    assert before is not None
    assert store.etag("a.parquet") == before
    sleep(0.02)  # the clock of the file system ticks every few milliseconds
    change(Path(store.path("a.parquet")))
    assert (now := store.etag("a.parquet")) != before
    assert store.is_rewritten(before, now) == rewritten


def test_what_is_not_a_regular_file_has_no_etag(store: Store) -> None:
    os.mkfifo(Path(store.path("pipe")))
    assert [store.etag(name) for name in ("missing", "pipe", "_scoreline", "a\0b")] == [None] * 4


def test_weak_etags(store: Store) -> None:
    """Where a file system stores whole seconds: equal ones are no evidence, but different ones are."""
    store.write("a", b"1")
    state = Path(store.path("a")).stat()
    times = {"st_ctime_ns": 10**18 + 1, "st_mtime_ns": 10**18}
    strong = module._etag(os.stat_result(state, times))
    weak = module._etag(os.stat_result(state, {**times, "st_ctime_ns": 10**18}))
    later = module._etag(os.stat_result(state, {"st_ctime_ns": 10**18, "st_mtime_ns": 2 * 10**18}))
    assert [etag is not None and etag.startswith(WEAK) for etag in (strong, weak, later)] == [False, True, True]
    assert not store.is_rewritten(strong, weak)
    assert store.is_rewritten(strong, later)
    assert store.is_rewritten(weak, later)
    assert not store.is_rewritten(None, later)
    assert not store.is_rewritten(weak, None)


def test_publishing_replaces_a_file_as_a_whole(store: Store) -> None:
    """A reader that has the old file open keeps it."""
    store.write("a.parquet", b"old")
    with store.path("a.parquet").open("rb") as reader:
        store.write("a.parquet", b"newer")
        assert reader.read() == b"old"
    assert store.read("a.parquet") == b"newer"


def test_discard_and_remove(store: Store) -> None:
    """Both accept what is not there."""
    path = store.temporary("a")
    path.write_bytes(b"1")
    store.discard(path)
    store.discard(path)
    assert store.temporaries() == []
    store.write("a", b"1")
    store.remove("a")
    store.remove("a")
    assert store.kind("a") == "missing"
    store.path("link").symlink_to(store.root / "nowhere")
    store.remove("link")
    assert not store.path("link").is_symlink()


def test_hidden_files_and_rejects_are_not_predictions(store: Store) -> None:
    """Entries come in the order of names; other files are listed too."""
    for name in ("b.parquet", "a.txt", "d/c.parquet", "_hidden.parquet", ".hidden.parquet", "_rejects/b.arrow",
                 "_rejects/note.txt", "_scoreline/run.json", "_d/e.parquet"):  # fmt: skip
        store.write(name, b"")
    assert [entry.name for entry in store.entries()] == ["a.txt", "b.parquet", "d/c.parquet"]
    assert list(store.parquet_files()) == ["b.parquet", "d/c.parquet"]
    assert list(store.rejects_files()) == ["_rejects/b.arrow"]


def test_only_our_temporary_files_are_removed(store: Store) -> None:
    """Wherever a run writes; hidden files of others, and folders and pipes with such a name, stay."""
    ours = {
        store.temporary(name) for name in ("a.parquet", "d/e/b.parquet", "_rejects/d/a.arrow", "_scoreline/run.json")
    }
    for path in ours:
        path.write_bytes(b"x")
    foreign = [store.root / ".scoreline-0.tmp", store.root / ".other.tmp", store.root / "_d" / ours.copy().pop().name]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (store.root / f".scoreline-{'0' * 16}.tmp").mkdir()
    os.mkfifo(store.root / f".scoreline-{'1' * 16}.tmp")
    removed = store.remove_temporaries()
    assert {store.root / name for name in removed} == ours
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in foreign)
    assert store.remove_temporaries() == []


@pytest.mark.parametrize("name", [MANIFEST, SUCCESS, LOCK, "_rejects/d/a.arrow"])
def test_what_is_not_a_regular_file_is_refused(store: Store, name: str) -> None:
    """Before anything is written to it."""
    store.refuse_irregular()
    path = store.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(OutputError) as refused:
        store.refuse_irregular()
    assert str(refused.value) == f"{path} is not a regular file; move it"


def test_reading_a_pipe_raises_instead_of_blocking(store: Store) -> None:
    """As does a missing file."""
    os.mkfifo(store.path("a"))
    with pytest.raises(OSError, match="it is a named pipe, not a regular file"):
        store.read("a")
    with pytest.raises(FileNotFoundError):
        store.read("b")


@pytest.mark.parametrize("number", [errno.EIO, errno.EAGAIN, errno.ESTALE, errno.EBUSY])
def test_a_rename_is_retried_twice(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """After transient errors only."""
    plain = Path.replace
    for times, fails in ((1, False), (2, False), (3, True)):
        path = store.temporary("a")
        path.write_bytes(str(times).encode())
        monkeypatch.setattr(Path, "replace", failing(times, number, plain))
        if fails:
            with pytest.raises(StorageError, match="check the disk, then run the same command again"):
                store.publish(path, "a")
        else:
            store.publish(path, "a")
            assert store.read("a") == str(times).encode()
    assert store.read("a") == b"2"


def test_a_rename_that_succeeds_but_reports_a_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system after a time-out: the file is published."""
    path = store.temporary("a")
    path.write_bytes(b"1")
    monkeypatch.setattr(Path, "replace", failing(1, errno.EIO, Path.replace, after=True))
    assert store.publish(path, "a") == Stored(1, store.etag("a"))
    assert store.read("a") == b"1"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_fsync_is_not_retried(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The kernel may drop the pages and report the next call as a success. The old content stays."""
    store.write("a", b"old")
    path = store.temporary("a")
    path.write_bytes(b"new")
    monkeypatch.setattr(os, "fsync", failing(1, number, os.fsync))
    with pytest.raises(StorageError):
        store.publish(path, "a")
    assert store.read("a") == b"old"


def test_a_failed_write_leaves_no_temporary_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the target."""
    monkeypatch.setattr(Path, "write_bytes", failing(1, errno.ENOSPC, Path.write_bytes, after=True))
    with pytest.raises(StorageError, match="free some space"):
        store.write("a", b"1")
    assert store.temporaries() == []
    assert store.kind("a") == "missing"


def test_published_files_and_their_folders_are_synced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it is renamed, its folder after that, and every new folder's parent."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def syncing(descriptor: int) -> None:
        calls.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def moving(path: Path, target: Path) -> Path:
        calls.append(("move", str(path)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", moving)
    temporary = store.temporary("d/e/a")
    root = str(store.root)
    assert calls == [("sync", root), ("sync", f"{root}/d")]
    temporary.write_bytes(b"1")
    calls.clear()
    store.publish(temporary, "d/e/a")
    assert calls == [("sync", str(temporary)), ("move", str(temporary)), ("sync", f"{root}/d/e")]


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.ENOSPC, StorageError, "/out/a cannot be written: No space left on device; free some space"),
        (errno.EDQUOT, StorageError, "free some space"),
        (errno.EFBIG, StorageError, "raise the limit on the size of files (ulimit -f)"),
        (errno.EIO, StorageError, "/out/a cannot be written: Input/output error; check the disk, then run the same"),
        (errno.EINVAL, StorageError, "check the disk"),
        (errno.EACCES, OutputError, "/out/a cannot be created: Permission denied; choose another output"),
        (errno.EROFS, OutputError, "choose another output"),
        (errno.ENOTDIR, OutputError, "choose another output"),
        (errno.EISDIR, OutputError, "choose another output"),
        (errno.ENAMETOOLONG, OutputError, "choose another output"),
    ],
)  # fmt: skip
def test_errors_by_number(number: int, error: type[Exception], message: str) -> None:
    """The path's fault has another exit code than the disk's."""
    found = storage_error(Path("/out/a"), OSError(number, os.strerror(number)))
    assert type(found) is error
    assert message in str(found)


def test_an_output_that_was_removed_is_empty(store: Store) -> None:
    """As is one that never was."""
    shutil.rmtree(store.root)
    assert list(store.entries()) == list(store.rejects_files()) == store.temporaries() == []
    assert not store.has_earlier_run()


def test_appended_lines(tmp_path: Path) -> None:
    """Each ends with a newline; one after a torn line begins on a line of its own. A pipe is not opened."""
    store = FolderStore(tmp_path)
    store.add_line("a", b"one")
    store.add_line("a", b"two")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-2])
    store.add_line("a", b"three")
    assert (tmp_path / "a").read_bytes() == b"one\ntw\nthree\n"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="named pipe"):
        store.add_line("pipe", b"x")
