"""Only one run can write to an output at a time, or the shards of one: kernel locks, released when their process ends.
Independent of runs.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from time import sleep

from ..errors import OutputError, OutputLockedError
from ..storage.plain_files import kind_of, read_plain
from .store import LOCK, SHARDS, Store, storage_error

#: How often a shard tries again to get the lock of the plan.
PAUSE_S = 0.2


def lock_output(store: Store, run_id: str) -> AbstractContextManager[None]:
    """Lock an output for the duration of a run. The file stays; only the kernel lock on it counts.

    Raises:
        OutputLockedError: another run, or a shard, has the lock; names its process, host and run.
        StorageError: the disk is full or failed.
    """
    return _held(store, LOCK, run_id, fcntl.LOCK_EX)


@contextmanager
def lock_shard(store: Store, shard: str, run_id: str) -> Iterator[None]:
    """Lock a shard; other shards may run at the same time, but no run of the whole output.

    Args:
        shard: its name, which is also that of its lock.

    Raises:
        OutputLockedError: a run has the output, or another process has this shard.
        StorageError: the disk is full or failed.
    """
    with _held(store, LOCK, run_id, fcntl.LOCK_SH), _held(store, f"{SHARDS}/{shard}.lock", run_id, fcntl.LOCK_EX):
        yield


@contextmanager
def lock_plan(store: Store, run_id: str) -> Iterator[None]:
    """Wait until no other shard is planning, and lock the plan.

    Raises:
        StorageError: the disk is full or failed.
    """
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(_held(store, f"{SHARDS}/plan.lock", run_id, fcntl.LOCK_EX))
                break
            except OutputLockedError:
                sleep(PAUSE_S)
        yield


@contextmanager
def _held(store: Store, name: str, run_id: str, how: int) -> Iterator[None]:
    path = store.path(name)
    store.make_folder(path.parent)
    descriptor = _opened(path)
    try:
        _lock(descriptor, path, store, run_id, how)
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


def _lock(descriptor: int, path: Path, store: Store, run_id: str, how: int) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
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
