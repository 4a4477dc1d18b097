"""Locks on files: kernel locks, released when their process ends. Independent of runs."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError, OutputLockedError
from ..storage.plain_files import kind_of, read_plain
from .store import storage_error


@contextmanager
def hold_file(path: Path, output: Path, run_id: str, *, shared: bool = False) -> Iterator[None]:
    """Lock a file, which is created if it does not exist, and stays; only the kernel lock on it counts.

    Args:
        output: what it protects, for messages.
        shared: with all that lock it in this way.

    Raises:
        OutputLockedError: another process has the lock; names its process, host and run.
        StorageError: the disk is full or failed.
    """
    descriptor = _opened(path)
    try:
        _lock(descriptor, path, output, run_id, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):  # the lock is released even if closing fails
            os.close(descriptor)


def locked_by(output: Path | str, holder: str) -> OutputLockedError:
    """The error for an output that another process has locked."""
    return OutputLockedError(f"output {str(output)!r} is locked by {holder}; try again when that has ended")


def _opened(path: Path) -> int:
    try:
        if kind_of(path) in ("folder", "other"):
            raise OutputError(f"{path} is not a regular file; move it")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(path, error) from error


def _lock(descriptor: int, path: Path, output: Path, run_id: str, how: int) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        content = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content.encode(), 0)
    except BlockingIOError as error:
        raise locked_by(output, _holder(path)) from error
    except OSError as error:
        raise storage_error(path, error) from error


def _holder(path: Path) -> str:
    try:
        content = json.loads(read_plain(path))
        return f"process {content['pid']} on {content['host']}, run {content['run_id']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another run"
