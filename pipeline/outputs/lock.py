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
    """Lock an output for the length of a run. The file stays; only the kernel lock on it counts.

    Raises:
        OutputLockedError: another run has the lock; names its process, host and run.
        StorageError: the disk is full or failed.
    """
    place = store.path(LOCK)
    descriptor = _opened(place)
    try:
        _take(descriptor, place, store, run_id)
        yield
    finally:
        with suppress(OSError):  # whatever closing says, the lock is gone
            os.close(descriptor)


def _opened(place: Path) -> int:
    if kind_of(place) in ("folder", "other"):
        raise OutputError(f"{place} is not a regular file, as it should be; move it")
    try:
        return os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(place, error) from error


def _take(descriptor: int, place: Path, store: Store, run_id: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        said = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, said.encode(), 0)
    except BlockingIOError as error:
        raise OutputLockedError(
            f"output {str(store.root)!r} is held by {_holder(place)}; try again when it has ended"
        ) from error
    except OSError as error:
        raise storage_error(place, error) from error


def _holder(place: Path) -> str:
    try:
        said = json.loads(read_plain(place))
        return f"process {said['pid']} on {said['host']}, run {said['run_id']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another run"
