"""The output folder on a local disk: its files, temporary files, and publishing. Independent of the content of files.

Files appear atomically: a file is written under a temporary name that readers ignore, fsynced, renamed once, and its
folder is fsynced. An object store would need another implementation (finish a local temporary file, then upload it), so
nothing outside this file renames or syncs.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

from ..errors import OutputError, ScorelineError, StorageError
from ..storage.folders import PATH_ERRORS, Entry, Failed, Walker, is_hidden
from ..storage.plain_files import Kind, kind_of, read_plain, require_plain
from ..storage.temporaries import is_temporary, temporary_name
from .naming import REJECTS, SUFFIX

SUCCESS = "_SUCCESS"
MANIFEST = "_scoreline/run.json"
PARTS = "_scoreline/parts.pq"
PROFILE = "_scoreline/profile.json"
LOCK = "_scoreline/lock"
#: The plan and the records of shards that have not been finished.
SHARDS = "_scoreline/shards"
HISTORY = "_scoreline/history.jsonl"
REPORT = "_scoreline/report.html"
#: Errors caused by the path, not by the disk.
_NOT_THERE = {*PATH_ERRORS, errno.EISDIR, errno.EEXIST, errno.EROFS} - {errno.EINVAL}
#: Transient errors, after which a call is retried; others would only fail again.
_TRANSIENT = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
_PAUSES_S = (0.05, 0.2)


class RecordFiles(NamedTuple):
    """Where a run, or a shard of one, records what it has done: the names of its manifest and of its list of parts."""

    manifest: str
    parts: str


RUN_FILES = RecordFiles(MANIFEST, PARTS)


class Store:
    """One output folder. Paths are relative to it, with `/`. `failed`: makes the error for what cannot be accessed."""

    def __init__(self, root: str | os.PathLike[str], *, failed: Failed | None = None) -> None:
        self.root = Path(root).absolute()
        self._failed = failed or _output_error

    def prepare(self) -> None:
        """Create the folder and check that it is writable, before any expensive work.

        Raises:
            OutputError: it cannot be created or written at this path.
            StorageError: the disk is full or failed.
        """
        probe = self.temporary("_scoreline/probe")
        try:
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)  # a run that starts now may have removed it
        except OSError as error:
            raise storage_error(probe, error) from error

    def has_earlier_run(self) -> bool:
        """Whether an earlier run has used the folder. Raises `failed` where that cannot be determined."""
        return self.kind("_scoreline") == "folder"

    def kind(self, name: str) -> Kind:
        """The kind of file at a name, following links. Raises `failed` where that cannot be determined."""
        try:
            return kind_of(self.root / name)
        except OSError as error:
            raise self._failed(str(self.root / name), error) from error

    def read(self, name: str) -> bytes:
        """The bytes of a published file. Raises OSError, also for a pipe, which would block forever."""
        return read_plain(self.root / name)

    def entries(self) -> Iterator[Entry]:
        """Every file that is not hidden from readers, following links, in the order of names."""
        return self._below("")

    def parquet_files(self) -> Iterator[str]:
        """Every `.parquet` file that a reader of the folder would take for predictions."""
        return (entry.name for entry in self.entries() if entry.name.endswith(SUFFIX))

    def rejects_files(self) -> Iterator[str]:
        """Every file of rejects."""
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
        """The path of a published file."""
        return self.root / name

    def temporary(self, name: str) -> Path:
        """A new path at which a file is written until it is published; its folder is created."""
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

    def publish(self, temporary: Path, target: str) -> int:
        """Make a finished temporary file visible as `target`. Returns its size in bytes.

        Raises:
            StorageError: the disk is full or failed. The target has either its old or its complete new content.
        """
        path = self.root / target
        try:
            with temporary.open("rb+") as file:
                # Not retried: after a failure, the kernel may drop the pages and report the next call as a success.
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            _move(temporary, path)
            _sync_folder(path.parent)
        except OSError as error:
            raise storage_error(path, error) from error
        return size

    def discard(self, temporary: Path) -> None:
        """Remove a temporary file that will not be published."""
        try:
            _remove(temporary)
        except OSError:
            return  # it does no harm, and the next run removes it

    def remove_temporaries(self) -> list[str]:
        """Remove the temporary files of a killed run and return their names. Only call this with the lock held."""
        names = self.temporaries()
        for name in names:
            try:
                _remove(self.root / name)
            except OSError as error:
                raise storage_error(self.root / name, error) from error
        return names

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file from memory. A temporary that could not be published is removed."""
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

    def append(self, name: str, line: bytes) -> None:
        """Append a line to a file, which is created if it does not exist. It is not synced: a crash of the machine may
        tear it, and the next line then begins on a line of its own."""
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

    def remove(self, name: str) -> None:
        """Remove a published file, if it exists, and fsync its folder."""
        path = self.root / name
        try:
            if _remove(path):
                _sync_folder(path.parent)
        except OSError as error:
            raise storage_error(path, error) from error

    def remove_shards(self) -> None:
        """Remove the plan and the records of shards."""
        for entry in list(self._below(SHARDS, skip=lambda _: False)):
            self.remove(entry.name)
        with suppress(OSError):
            (self.root / SHARDS).rmdir()

    def _below(self, path: str, skip: Callable[[str], bool] = is_hidden) -> Iterator[Entry]:
        if self.kind(path) == "missing":
            return iter(())
        walker = Walker(failed=self._failed, skip=skip)
        return walker.files(walker.start(str(self.root / path), path))


def _output_error(path: str, error: OSError) -> ScorelineError:
    """The typed error for an output, or a folder in one, that cannot be accessed."""
    if error.errno in PATH_ERRORS:
        return OutputError(f"{path!r} cannot be accessed: {error.strerror}; choose another --output")
    return StorageError(
        f"{path!r} cannot be accessed: {error.strerror or error}; check the disk, then run the same command again"
    )


def storage_error(path: Path, error: OSError) -> ScorelineError:
    """The typed error for a failed call, with the path and what to do."""
    if error.errno in _NOT_THERE:
        return OutputError(f"{path} cannot be created: {error.strerror}; choose another --output")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = f"{'free some space' if full else 'check the disk'}, then run the same command again"
    return StorageError(f"{path} cannot be written: {error.strerror or error}; {advice}")


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
