"""One run at a time per output: a kernel lock that dies with its holder, however that dies. Knows nothing of runs."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputLockedError
from .store import Store, storage_error

LOCK = "_scoreline/lock"


@contextmanager
def hold(store: Store, run_id: str) -> Iterator[None]:
    """Hold the output for the length of a run. The file stays; only the kernel's lock on it means anything.

    Raises:
        OutputLockedError: another run holds it; names its process, host and run.
    """
    place = store.path(LOCK)
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(place, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputLockedError(
                f"output {str(store.root)!r} is held by {_holder(place)}; try again when it has ended"
            ) from error
        said = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, said.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(place: Path) -> str:
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']}, run {said['run_id']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
