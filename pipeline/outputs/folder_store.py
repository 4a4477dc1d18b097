"""The output folder on a local disk, or on one that is mounted.

Files appear atomically: a file is written under a temporary name that readers ignore, fsynced, renamed once, and its
folder is fsynced. Only one run can write to it at a time, or the shards of one: kernel locks, which end with their
process.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, ScorelineError
from ..storage.folders import Entry, Failed, Walker, is_hidden
from ..storage.plain_files import Kind, kind_of, read_plain, require_plain
from ..storage.temporaries import is_temporary, temporary_name
from .lock import hold_file
from .naming import REJECTS
from .store import (
    HISTORY,
    LOCK,
    MANIFEST,
    PARTS,
    PLAN,
    PROFILE,
    REPORT,
    SHARDS,
    SUCCESS,
    WEAK,
    Store,
    Stored,
    output_error,
    storage_error,
)  # fmt: skip

if TYPE_CHECKING:
    from ..storage.lease import Waiting

#: Transient errors, after which a call is retried; others would only fail again.
_TRANSIENT = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
_PAUSES_S = (0.05, 0.2)
MAX_PUBLISHERS = 4


class FolderStore(Store):
    """An output folder. `failed`: makes the error for what cannot be accessed."""

    root: Path
    lock_pause_s, num_readers = 0.2, 1

    def __init__(self, root: str | os.PathLike[str], *, failed: Failed | None = None) -> None:
        self.root = Path(root).absolute()
        self._failed = failed or output_error

    def num_publishers(self, num_flows: int) -> int:
        """One for each flow, up to four: a file system combines syncs that come at the same time, and four threads are
        as fast as syncing folders once for a group of parts (measured), but a thread more takes the GIL from a flow."""
        return min(num_flows, MAX_PUBLISHERS)

    def prepare(self) -> None:
        probe = self.temporary("_scoreline/probe")
        try:
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)  # a run that starts now may have removed it
        except OSError as error:
            raise storage_error(probe, error) from error

    def lock(self, run_id: str, waiting: "Waiting | None" = None) -> AbstractContextManager[None]:  # noqa: ARG002 - at once
        return self._hold(LOCK, run_id)

    @contextmanager
    def lock_shard(self, shard: str, run_id: str, waiting: "Waiting | None" = None) -> Iterator[None]:  # noqa: ARG002
        with self._hold(LOCK, run_id, shared=True), self._hold(f"{SHARDS}/{shard}.lock", run_id):
            yield

    def _try_lock_plan(self, run_id: str) -> AbstractContextManager[None]:
        return self._hold(f"{SHARDS}/plan.lock", run_id)

    def lock_record(self) -> bytes:
        return self.read(LOCK)

    @contextmanager
    def _hold(self, name: str, run_id: str, *, shared: bool = False) -> Iterator[None]:
        path = self.root / name
        self.make_folder(path.parent)
        with hold_file(path, self.root, run_id, shared=shared):
            yield

    def refresh(self) -> None:
        return

    def kind(self, name: str) -> Kind:
        try:
            return kind_of(self.root / name)
        except OSError as error:
            raise self._failed(str(self.root / name), error) from error

    def read(self, name: str) -> bytes:
        return read_plain(self.root / name)

    def entries(self) -> Iterator[Entry]:
        return self._below("")

    def rejects_files(self) -> Iterator[str]:
        return (entry.name for entry in self._below(REJECTS) if entry.name.endswith(".arrow"))

    def temporaries(self) -> list[str]:
        """The temporary files that a killed run has left, recognised by their names."""

        def is_other_hidden(name: str) -> bool:
            return is_hidden(name) and not is_temporary(name)

        return [
            entry.name
            for path in ("", REJECTS, "_scoreline")
            for entry in self._below(path, skip=is_other_hidden)
            if entry.kind == "file" and is_temporary(entry.name.rpartition("/")[2])
        ]

    def refuse_irregular(self) -> None:
        """Raise OutputError for a pipe, a socket or a device in place of a rejects file, or of a file that every run
        writes."""
        irregular = [entry.name for entry in self._below(REJECTS) if entry.kind == "other"]
        regular = (MANIFEST, PARTS, PROFILE, SUCCESS, LOCK, HISTORY, REPORT)
        irregular += [name for name in regular if self.kind(name) in ("other", "folder")]
        if irregular:
            raise OutputError(f"{self.root / irregular[0]} is not a regular file; move it")

    def path(self, name: str) -> Path:
        return self.root / name

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        path = self.root / name
        require_plain(path)
        yield path

    def etag(self, name: str) -> str | None:
        try:
            return _etag(os.stat(f"{self.root}/{name}"))  # noqa: PTH116 - three times as fast as Path
        except (OSError, ValueError):
            return None

    def is_rewritten(self, before: str | None, now: str | None) -> bool:
        """By size and time of modification: a copy that keeps both has another inode, and chmod changes the last
        time."""
        return before is not None and now is not None and _written(before) != _written(now)

    def kept_digest(self, name: str) -> None:  # noqa: ARG002 - file systems keep none
        return None

    def temporary(self, name: str) -> Path:
        """A new path beside the target; its folder is created."""
        path = (self.root / name).with_name(temporary_name(name))
        self.make_folder(path.parent)
        return path

    def make_folder(self, folder: Path) -> None:
        """Create a folder of the output, and its parents, unless it exists.

        Raises:
            OutputError: it cannot be created at this path.
            StorageError: the disk is full or failed.
        """
        try:
            _make_folder(folder)
        except OSError as error:
            raise storage_error(folder, error) from error

    def publish(self, temporary: Path, target: str, digest: str | None = None) -> Stored:  # noqa: ARG002 - kept nowhere
        path = self.root / target
        try:
            with temporary.open("rb+") as file:
                # Not retried: after a failure, the kernel may drop the pages and report the next call as a success.
                os.fsync(file.fileno())
                _move(temporary, path)
                state = os.fstat(file.fileno())  # of this file, whatever others do at its path
            _sync_folder(path.parent)
        except OSError as error:
            raise storage_error(path, error) from error
        return Stored(state.st_size, _etag(state))

    def discard(self, temporary: Path) -> None:
        try:
            _remove(temporary)
        except OSError:
            return  # it does no harm, and the next run removes it

    def remove_temporaries(self) -> list[str]:
        names = self.temporaries()
        for name in names:
            try:
                _remove(self.root / name)
            except OSError as error:
                raise storage_error(self.root / name, error) from error
        return names

    def write(self, name: str, data: bytes) -> None:
        temporary = self.temporary(name)
        try:
            temporary.write_bytes(data)
            self.publish(temporary, name)
        except OSError as error:
            self.discard(temporary)
            raise storage_error(self.root / name, error) from error
        except ScorelineError:
            self.discard(temporary)
            raise

    def add_line(self, name: str, line: bytes) -> None:
        """Append a line to a file, which is created if it does not exist; after a torn one, on a line of its own."""
        path = self.root / name
        try:
            if kind_of(path) != "missing":
                require_plain(path)
            with path.open("a+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                torn = file.read(1) not in (b"", b"\n")
                file.write((b"\n" if torn else b"") + line + b"\n")
        except OSError as error:
            raise storage_error(path, error) from error

    def lines(self, name: str) -> list[bytes]:
        try:
            return self.read(name).splitlines()
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """Remove a published file, if it exists, and fsync its folder."""
        path = self.root / name
        try:
            if _remove(path):
                _sync_folder(path.parent)
        except OSError as error:
            raise storage_error(path, error) from error

    def remove_shards(self) -> None:
        names = [entry.name for entry in self._below(SHARDS, skip=lambda _: False)]
        for name in sorted(names, key=lambda name: name != PLAN):
            self.remove(name)
        with suppress(OSError):
            (self.root / SHARDS).rmdir()

    def _below(self, path: str, skip: Callable[[str], bool] = is_hidden) -> Iterator[Entry]:
        if self.kind(path) == "missing":
            return iter(())
        walker = Walker(failed=self._failed, skip=skip)
        return walker.files(walker.start(str(self.root / path), path))


def _etag(state: os.stat_result) -> str | None:
    """The ETag of a regular file: its size, its times of modification and of change, and its inode. The time of change
    cannot be set, and a rename changes it, too. A weak one if that time is in whole seconds: a file system with such
    times does not show a change within the second."""
    if not stat.S_ISREG(state.st_mode):
        return None
    weak = "" if state.st_ctime_ns % 1_000_000_000 else WEAK
    return f"{weak}{state.st_size:x}-{state.st_mtime_ns:x}-{state.st_ctime_ns:x}-{state.st_ino:x}"


def _written(etag: str) -> list[str]:
    """The size and the time of modification in an ETag."""
    return etag.removeprefix(WEAK).split("-")[:2]


def _retried(call: Callable[[], Any]) -> Any:
    """Make a call that can be repeated, up to three times after transient errors."""
    for pause_s in _PAUSES_S:
        try:
            return call()
        except OSError as error:
            if error.errno not in _TRANSIENT:
                raise
            sleep(pause_s)
    return call()


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, and fsync each."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    _retried(lambda: folder.mkdir(exist_ok=True))
    _sync_folder(folder.parent)


def _move(temporary: Path, path: Path) -> None:
    """Rename a file. A rename that reports a failure may have succeeded (a time-out on a network file system), so the
    target is checked after an error."""
    inode = temporary.stat().st_ino

    def move() -> None:
        try:
            temporary.replace(path)
        except OSError:
            if temporary.exists() or not path.exists() or path.stat().st_ino != inode:
                raise

    _retried(move)


def _remove(path: Path) -> bool:
    """Remove a file. Returns whether it existed."""
    if not os.path.lexists(path):
        return False
    _retried(lambda: path.unlink(missing_ok=True))
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
