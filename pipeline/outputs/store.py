"""The output of a run: its files, temporary files, and publishing. Independent of the content of files.

A `Store` is a folder on a disk (`folder_store.py`) or a prefix in an object store (`object_store.py`); `stores.py`
opens the one that a path names. Nothing else renames, syncs or uploads.
"""

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ..errors import OutputError, OutputLockedError, ScorelineError, StorageError
from ..storage.folders import PATH_ERRORS, Entry
from ..storage.plain_files import Kind
from ..storage.uris import is_remote
from .naming import SUFFIX

if TYPE_CHECKING:
    from ..storage.lease import Waiting

SUCCESS = "_SUCCESS"
MANIFEST = "_scoreline/run.json"
PARTS = "_scoreline/parts.pq"
PROFILE = "_scoreline/profile.json"
LOCK = "_scoreline/lock"
#: The beginning of an ETag that may stay the same when bytes change, as in HTTP.
WEAK = "W/"
#: The plan and the records of shards that have not been finished.
SHARDS = "_scoreline/shards"
PLAN = f"{SHARDS}/plan.pq"
HISTORY = "_scoreline/history.jsonl"
REPORT = "_scoreline/report.html"
#: Errors caused by the path, not by the disk.
_NOT_THERE = {*PATH_ERRORS, errno.EISDIR, errno.EEXIST, errno.EROFS} - {errno.EINVAL}


class RecordFiles(NamedTuple):
    """Where a run, or a shard of one, records what it has done: the names of its manifest and of its list of parts."""

    manifest: str
    parts: str


RUN_FILES = RecordFiles(MANIFEST, PARTS)


class Stored(NamedTuple):
    """A published file: its size in bytes, and its ETag, as `Store.etag` returns it."""

    size: int
    etag: str | None = None


class Store(ABC):
    """An output. Names of files are relative to it, with `/`. `root`: its absolute path, or its URI.

    Methods that write raise OutputError where the path is the cause, and StorageError where the disk or the service is,
    and leave either the old or the complete new content.
    """

    root: Path | str
    #: How often a shard tries again to get the lock of the plan.
    lock_pause_s: ClassVar[float]
    #: Threads that read many small pieces of files at once: more than one where they mostly wait.
    num_readers: ClassVar[int]

    @abstractmethod
    def num_publishers(self, num_flows: int) -> int:
        """How many threads publish the parts of so many flows; mostly, they wait for a service or the disk."""

    @abstractmethod
    def prepare(self) -> None:
        """Create the output and check that it is writable, before any expensive work.

        Raises:
            OutputError: it cannot be created or written at this path.
            StorageError: the disk or the service fails.
        """

    @abstractmethod
    def lock(self, run_id: str, waiting: "Waiting | None" = None) -> AbstractContextManager[None]:
        """Lock the output for the duration of a run.

        Args:
            waiting: called before waiting for a process that may have died.

        Raises:
            OutputLockedError: another run, or a shard, has the lock; names its process, host and run.
            StorageError: the disk or the service fails.
        """

    @abstractmethod
    def lock_shard(self, shard: str, run_id: str, waiting: "Waiting | None" = None) -> AbstractContextManager[None]:
        """Lock a shard; other shards may run at the same time, but no run of the whole output. Raises what `lock` does.

        Args:
            shard: its name, which is also that of its lock.
        """

    @contextmanager
    def lock_plan(self, run_id: str) -> Iterator[None]:
        """Wait until no other shard is planning, and lock the plan."""
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self._try_lock_plan(run_id))
                    break
                except OutputLockedError:
                    sleep(self.lock_pause_s)
            yield

    @abstractmethod
    def _try_lock_plan(self, run_id: str) -> AbstractContextManager[None]:
        """Lock the plan. Raises OutputLockedError if another shard is planning."""

    @abstractmethod
    def lock_record(self) -> bytes:
        """What identifies the process that has locked the output, so that its workers recognise the output as its own.
        Raises OSError if nothing has."""

    def has_earlier_run(self) -> bool:
        """Whether an earlier run has used the output. Raises a ScorelineError where that cannot be determined."""
        return self.kind("_scoreline") == "folder"

    @abstractmethod
    def refresh(self) -> None:
        """See what others have changed since the last call, where looking takes a request."""

    @abstractmethod
    def kind(self, name: str) -> Kind:
        """The kind of file at a name, following links. Raises a ScorelineError where that cannot be determined."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a published file. Raises OSError, also for a pipe, which would block forever."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every file that is not hidden from readers, following links, in the order of names."""

    @abstractmethod
    def rejects_files(self) -> Iterator[str]:
        """Every file of rejects."""

    def parquet_files(self) -> Iterator[str]:
        """Every `.parquet` file that a reader of the output would take for predictions."""
        return (entry.name for entry in self.entries() if entry.name.endswith(SUFFIX))

    @abstractmethod
    def temporaries(self) -> list[str]:
        """The temporary files that a killed run has left in the output."""

    @abstractmethod
    def refuse_irregular(self) -> None:
        """Raise OutputError for what is not a regular file in place of a file that every run writes."""

    @abstractmethod
    def path(self, name: str) -> Path | str:
        """The path or the URI of a published file."""

    @abstractmethod
    def local(self, name: str) -> AbstractContextManager[Path]:
        """A regular file on a local disk with the bytes of a published file: the file itself, or a copy. Raises OSError
        if it cannot be read."""

    @abstractmethod
    def etag(self, name: str) -> str | None:
        """What changes whenever a file is written: the ETag of an object; for a file its size, times and inode. It
        begins with `WEAK` where the times are too coarse to be sure. None where there is no such file."""

    @abstractmethod
    def is_rewritten(self, before: str | None, now: str | None) -> bool:
        """Whether a file may have other bytes than before, by its ETags. False where one is unknown."""

    @abstractmethod
    def kept_digest(self, name: str) -> str | None:
        """The sha256 that the storage keeps with a complete file; None where it keeps none."""

    @abstractmethod
    def temporary(self, name: str) -> Path:
        """A new path on a local disk at which a file is written until it is published."""

    @abstractmethod
    def publish(self, temporary: Path, target: str, digest: str | None = None) -> Stored:
        """Make a finished temporary file visible as `target`, and remove it.

        Args:
            digest: its sha256, which an object store keeps with it.
        """

    @abstractmethod
    def discard(self, temporary: Path) -> None:
        """Remove a temporary file that will not be published."""

    @abstractmethod
    def remove_temporaries(self) -> list[str]:
        """Remove the temporary files of a killed run and return their names. Only call this with the lock held."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Publish a small file from memory."""

    @abstractmethod
    def add_line(self, name: str, line: bytes) -> None:
        """Add a line to a log. It is not synced: a crash of the machine may tear it."""

    @abstractmethod
    def lines(self, name: str) -> list[bytes]:
        """The lines of a log, in the order in which they were added. Raises OSError if it cannot be read."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a published file, if it exists."""

    @abstractmethod
    def remove_shards(self) -> None:
        """Remove the plan, and then the records of shards: without a plan, they are nothing."""


_STEPS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
}


def storage_error(path: Path | str, error: OSError) -> ScorelineError:
    """The typed error for a failed call, with the path and what to do."""
    if error.errno in _NOT_THERE:
        return OutputError(f"{path} cannot be created: {error.strerror}; choose another output")
    advice = f"{_STEPS.get(error.errno or 0) or _check(path)}, then run the same command again"
    return StorageError(f"{path} cannot be written: {error.strerror or error}; {advice}")


def output_error(path: str, error: OSError) -> ScorelineError:
    """The typed error for an output, or a folder in one, that cannot be accessed."""
    if error.errno in PATH_ERRORS:
        return OutputError(f"{path!r} cannot be accessed: {error.strerror}; choose another --output")
    return StorageError(
        f"{path!r} cannot be accessed: {error.strerror or error}; {_check(path)}, then run the same command again"
    )


def _check(path: Path | str) -> str:
    return "check the service" if is_remote(path) else "check the disk"
