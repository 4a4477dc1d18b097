"""The output folder on a local disk: what is there, a place to write unseen, publishing. Knows nothing of what
is in a file.

A file becomes visible whole or not at all: it is written under a temporary name that no reader takes for data,
fsynced, renamed once, and its folder fsynced. An object store would do the same another way (finish a local
temporary, then upload), so nothing outside this file renames or syncs.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import OutputError, ScorelineError, StorageError

SUCCESS = "_SUCCESS"
MANIFEST = "_scoreline/run.json"
TEMPORARY = ".tmp"
#: The place is at fault, not the disk.
_NOT_THERE = {
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
}


class Store:
    """One output folder. Paths are relative to it, with `/`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()

    def prepare(self) -> None:
        """Make the folder, and find out that it can be written to before anything costs time.

        Raises:
            OutputError: it cannot.
        """
        probe = self.root / "_scoreline" / f"probe{TEMPORARY}"
        try:
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OutputError(
                f"output {str(self.root)!r} cannot be created or written to: {error.strerror}; choose another --output"
            ) from error

    def is_ours(self) -> bool:
        """Whether a run has been here before."""
        return (self.root / "_scoreline").is_dir()

    def parquet_files(self) -> Iterator[str]:
        """Every `.parquet` that a reader of the folder would take for predictions."""
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith(("_", ".")))
            for name in sorted(files):
                if name.endswith(".parquet") and not name.startswith(("_", ".")):
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    def path(self, name: str) -> Path:
        """Where a published file stands."""
        return self.root / name

    def temporary(self, name: str) -> Path:
        """Where a file is written until it is published, in a folder that now exists."""
        place = self.root / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(place.parent, error) from error
        return place.with_name(f".{place.name}{TEMPORARY}")

    def publish(self, name: str, target: str) -> int:
        """Make the finished temporary of `name` visible as `target`. Returns its size in bytes.

        Raises:
            StorageError: the disk is full or failed; the name still has what it had before.
        """
        temporary, place = self.temporary(name), self.root / target
        try:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            size = temporary.stat().st_size
            temporary.replace(place)
            _sync_folder(place.parent)
        except OSError as error:
            raise storage_error(place, error) from error
        return size

    def discard(self, name: str) -> None:
        """Remove a temporary that will not be published."""
        self.temporary(name).unlink(missing_ok=True)

    def sweep(self) -> list[str]:
        """Remove the temporaries of a run that was killed. Only names of our own making, and only under the lock."""
        left = [path for path in self.root.rglob(f".*{TEMPORARY}") if path.is_file()]
        for path in left:
            path.unlink(missing_ok=True)
        return [path.relative_to(self.root).as_posix() for path in left]

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file from memory."""
        temporary = self.temporary(name)
        try:
            temporary.write_bytes(data)
            self.publish(name, name)
        except OSError as error:
            raise storage_error(self.root / name, error) from error
        finally:
            temporary.unlink(missing_ok=True)  # gone already where it was published

    def remove(self, name: str) -> None:
        """Remove a published file, if it is there, and make the removal last."""
        place = self.root / name
        try:
            place.unlink(missing_ok=True)
            if place.parent.exists():
                _sync_folder(place.parent)
        except OSError as error:
            raise storage_error(place, error) from error


def storage_error(place: Path, error: OSError) -> ScorelineError:
    """The typed error for a failed call: where it failed, and what to do."""
    if error.errno in _NOT_THERE:
        return OutputError(f"{place} cannot be created: {error.strerror}; choose another --output")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room and run the same command again" if full else "look at the disk, then run again"
    return StorageError(f"{place} cannot be written: {error.strerror or error}; {advice}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
