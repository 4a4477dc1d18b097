"""The output folder on a local disk: what is there, a place to write unseen, publishing. Knows nothing of what
is in a file.

A file becomes visible whole or not at all: it is written under a temporary name that no reader takes for data,
fsynced, renamed once, and its folder fsynced. An object store would do the same another way (finish a local
temporary, then upload), so nothing outside this file renames or syncs.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

from ..errors import OutputError, ScorelineError, StorageError
from ..storage.folders import PATH_ERRORS, Entry, Failed, Walker, is_hidden
from ..storage.plain_files import Kind, kind_of, read_plain
from ..storage.temporaries import is_temporary, temporary_name
from .naming import REJECTS, SUFFIX

SUCCESS = "_SUCCESS"
MANIFEST = "_scoreline/run.json"
LOCK = "_scoreline/lock"
#: The place is at fault, not the disk.
_NOT_THERE = {*PATH_ERRORS, errno.EISDIR, errno.EEXIST, errno.EROFS} - {errno.EINVAL}
#: What may pass, so that a call that can be repeated is; anything else would only fail again.
_FALTERING = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
_PAUSES_S = (0.05, 0.2)


class Store:
    """One output folder. Paths are relative to it, with `/`. `failed`: the error for what cannot be looked at."""

    def __init__(self, root: str | os.PathLike[str], *, failed: Failed | None = None) -> None:
        self.root = Path(root).absolute()
        self._failed = failed or _output_error

    def prepare(self) -> None:
        """Make the folder, and find out that it can be written to before anything costs time.

        Raises:
            OutputError: it cannot, at this place.
            StorageError: the disk is full or failed.
        """
        probe = self.temporary("_scoreline/probe")
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise storage_error(probe, error) from error

    def is_ours(self) -> bool:
        """Whether a run has been here before. Raises `failed` where that cannot be known."""
        return self.kind("_scoreline") == "folder"

    def kind(self, name: str) -> Kind:
        """What is at a name, behind links. Raises `failed` where that cannot be known."""
        try:
            return kind_of(self.root / name)
        except OSError as error:
            raise self._failed(str(self.root / name), error) from error

    def read(self, name: str) -> bytes:
        """The bytes of a published file. Raises OSError, also for a pipe, which would wait for ever."""
        return read_plain(self.root / name)

    def entries(self) -> Iterator[Entry]:
        """Everything that is not hidden from readers, who follow links, in the order of the names."""
        return self._below("")

    def parquet_files(self) -> Iterator[str]:
        """Every `.parquet` that a reader of the folder would take for predictions."""
        return (entry.name for entry in self.entries() if entry.name.endswith(SUFFIX))

    def rejects_files(self) -> Iterator[str]:
        """Every file of rejects."""
        return (entry.name for entry in self._below(REJECTS) if entry.name.endswith(".arrow"))

    def temporaries(self) -> list[str]:
        """What a run that was killed has left: names of our own making, where this writes."""

        def others(name: str) -> bool:
            return is_hidden(name) and not is_temporary(name)

        return [
            entry.name
            for place in ("", REJECTS, "_scoreline")
            for entry in self._below(place, skip=others)
            if entry.kind == "file" and is_temporary(entry.name.rpartition("/")[2])
        ]

    def refuse_irregular(self) -> None:
        """Raise OutputError for a pipe, a socket or a device under the name of rejects, or of a file that every run
        writes."""
        strange = [entry.name for entry in self._below(REJECTS) if entry.kind == "other"]
        strange += [name for name in (MANIFEST, SUCCESS, LOCK) if self.kind(name) in ("other", "folder")]
        if strange:
            raise OutputError(f"{self.root / strange[0]} is not a regular file, as it should be; move it")

    def path(self, name: str) -> Path:
        """Where a published file stands."""
        return self.root / name

    def temporary(self, name: str) -> Path:
        """Where a file is written until it is published, in a folder that now exists."""
        place = self._hidden(name)
        try:
            _make_folder(place.parent)
        except OSError as error:
            raise storage_error(place.parent, error) from error
        return place

    def publish(self, name: str, target: str) -> int:
        """Make the finished temporary of `name` visible as `target`. Returns its size in bytes.

        Raises:
            StorageError: the disk is full or failed. The target has what it had before, or all of what it should have.
        """
        temporary, place = self._hidden(name), self.root / target
        try:
            with temporary.open("rb+") as file:
                # Once: after a failure the kernel may drop the pages, and call the next a success.
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            _move(temporary, place)
            _sync_folder(place.parent)
        except OSError as error:
            raise storage_error(place, error) from error
        return size

    def discard(self, name: str) -> None:
        """Remove a temporary that will not be published."""
        try:
            _removed(self._hidden(name))
        except OSError:
            return  # it is in nobody's way, and the next run removes it

    def remove_temporaries(self) -> list[str]:
        """Remove the temporaries of a run that was killed. Only names of our own making, and only under the lock."""
        left = self.temporaries()
        for name in left:
            try:
                _removed(self.root / name)
            except OSError as error:
                raise storage_error(self.root / name, error) from error
        return left

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file from memory."""
        temporary = self.temporary(name)
        try:
            temporary.write_bytes(data)
        except OSError as error:
            self.discard(name)
            raise storage_error(self.root / name, error) from error
        self.publish(name, name)

    def remove(self, name: str) -> None:
        """Remove a published file, if it is there, and make the removal last."""
        place = self.root / name
        try:
            if _removed(place):
                _sync_folder(place.parent)
        except OSError as error:
            raise storage_error(place, error) from error

    def _hidden(self, name: str) -> Path:
        place = self.root / name
        return place.with_name(temporary_name(name))

    def _below(self, place: str, skip: Callable[[str], bool] = is_hidden) -> Iterator[Entry]:
        if self.kind(place) == "missing":
            return iter(())
        walker = Walker(failed=self._failed, skip=skip)
        return walker.files(walker.start(str(self.root / place), place))


def _output_error(path: str, error: OSError) -> ScorelineError:
    """The typed error for an output, or a folder in one, that cannot be listed or looked at."""
    if error.errno in PATH_ERRORS:
        return OutputError(f"{path!r} cannot be looked at: {error.strerror}; choose another --output")
    return StorageError(f"{path!r} cannot be looked at: {error.strerror or error}; look at the disk, then run again")


def storage_error(place: Path, error: OSError) -> ScorelineError:
    """The typed error for a failed call: where it failed, and what to do."""
    if error.errno in _NOT_THERE:
        return OutputError(f"{place} cannot be created: {error.strerror}; choose another --output")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room and run the same command again" if full else "look at the disk, then run again"
    return StorageError(f"{place} cannot be written: {error.strerror or error}; {advice}")


def _retried(call: Callable[[], Any]) -> Any:
    """A call that may be made twice, up to three times where the disk or the network falters."""
    for pause_s in _PAUSES_S:
        try:
            return call()
        except OSError as error:
            if error.errno not in _FALTERING:
                raise
            sleep(pause_s)
    return call()


def _make_folder(folder: Path) -> None:
    """A folder and those above it, each made to last."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    _retried(lambda: folder.mkdir(exist_ok=True))
    _sync_folder(folder.parent)


def _move(temporary: Path, place: Path) -> None:
    """Rename. Where that reports a failure it may have worked all the same (a time-out over a network), so it is looked
    up: the file that is to be at the place may be there."""
    inode = temporary.stat().st_ino

    def move() -> None:
        try:
            temporary.replace(place)
        except OSError:
            if temporary.exists() or not place.exists() or place.stat().st_ino != inode:
                raise

    _retried(move)


def _removed(place: Path) -> bool:
    """Remove a file; whether there was one."""
    if not place.exists() and not place.is_symlink():
        return False
    _retried(lambda: place.unlink(missing_ok=True))
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
