"""Only one run can write to an output at a time: a kernel lock, released when its process ends. Independent of runs."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError, OutputLockedError
from ..storage.plain_files import kind_of, read_plain
from .store import LOCK, Store, storage_error


@contextmanager
def lock_output(store: Store, run_id: str) -> Iterator[None]:
    """Lock an output for the duration of a run. The file stays; only the kernel lock on it counts.

    Raises:
        OutputLockedError: another run has the lock; names its process, host and run.
        StorageError: the disk is full or failed.
    """
    path = store.path(LOCK)
    descriptor = _opened(path)
    try:
        _lock(descriptor, path, store, run_id)
        yield
    finally:
        with suppress(OSError):  # the lock is released even if closing fails
            os.close(descriptor)


def _opened(path: Path) -> int:
    if kind_of(path) in ("folder", "other"):
        raise OutputError(f"{path} is not a regular file; move it")
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(path, error) from error


def _lock(descriptor: int, path: Path, store: Store, run_id: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content.encode(), 0)
    except BlockingIOError as error:
        raise OutputLockedError(
            f"output {str(store.root)!r} is locked by {_holder(path)}; try again when that has ended"
        ) from error
    except OSError as error:
        raise storage_error(path, error) from error


def _holder(path: Path) -> str:
    try:
        content = json.loads(read_plain(path))
        return f"process {content['pid']} on {content['host']}, run {content['run_id']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another run"
