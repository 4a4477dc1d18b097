"""The lock of an output: held by one run at a time, and released when that ends, in whatever way."""

import errno
import fcntl
import json
import os
import socket
from pathlib import Path

import pytest
from scoreline.pipeline.errors import OutputError, OutputLockedError, StorageError
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import LOCK, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An output that is ready to be written."""
    made = FolderStore(tmp_path / "out")
    made.prepare()
    return made


def test_the_holder_is_named(store: Store) -> None:
    """A second run is refused with the first one's process, host and run, and does not change the file."""
    with store.lock("run-1"):
        written = store.read(LOCK)
        assert json.loads(written) == {"pid": os.getpid(), "host": socket.gethostname(), "run_id": "run-1"}
        with pytest.raises(OutputLockedError) as refused, store.lock("run-2"):
            pass
        assert str(refused.value) == (
            f"output {str(store.root)!r} is locked by process {os.getpid()} on {socket.gethostname()}, run run-1; "
            "try again when that has ended"
        )
        assert store.read(LOCK) == written


def test_it_is_released_at_the_end_and_after_an_error(store: Store) -> None:
    """The file stays, and the next holder's content replaces the longer one before it."""
    with store.lock("a-much-longer-run-id"):
        pass
    with pytest.raises(ZeroDivisionError), store.lock("b"):
        raise ZeroDivisionError
    with store.lock("c"):
        assert json.loads(store.read(LOCK))["run_id"] == "c"
    assert store.kind(LOCK) == "file"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": 1}', b"\xff", b"[" * 100_000, b"null"])
def test_a_holder_with_invalid_content(store: Store, content: bytes) -> None:
    """The kernel's lock counts, whatever the file says."""
    path = store.path(LOCK)
    path.write_bytes(content)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OutputLockedError, match="is locked by another run; try again"), store.lock("r"):
            pass
    with store.lock("r"):
        pass


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_lock_that_is_not_a_file(store: Store, kind: str) -> None:
    """It is refused at once: opening a pipe could block."""
    path = store.path(LOCK)
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OutputError) as refused, store.lock("r"):
        pass
    assert str(refused.value) == f"{path} is not a regular file; move it"


def test_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a storage error, and the lock is released."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        message = "cannot be written: No space left on device; free some space"
        with pytest.raises(StorageError, match=message), store.lock("r"):
            pass
    with store.lock("r"):
        pass
