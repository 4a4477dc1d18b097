"""Writes a bundle: to a temporary folder next to its path, which then gets its name. Independent of torch."""

import ctypes
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ...schemas.bundle import BundleManifest
from ..digests import sha256
from ..errors import OutputError
from ..storage.folders import Walker
from ..storage.plain_files import kind_of
from ..storage.temporaries import is_temporary_of, temporary_name
from .bundle import MANIFEST

#: `AT_FDCWD` and `RENAME_EXCHANGE` of Linux.
_HERE, _EXCHANGE = -100, 2
#: How often a bundle is renamed to its path while others put theirs there.
_MOST_WRITERS = 100


def write_bundle(path: str | os.PathLike[str], manifest: BundleManifest, files: Mapping[str, bytes]) -> str:
    """Write a bundle to a temporary folder, then put it in the place of an older one. Of several writers of one bundle,
    each replaces what another has written. Temporaries of writers that were killed are removed.

    Returns:
        Its digest.

    Raises:
        OutputError: something that is not a bundle exists at the path, or it cannot be written.
    """
    target = resolve_target(path)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
    try:
        with _new_folder(target) as fresh:
            for name, data in {**files, MANIFEST: text.encode()}.items():
                _write_synced(fresh / name, data)
            _put(fresh, target)
        _remove_abandoned(target)
    except OSError as error:
        raise OutputError(f"bundle {str(target)!r} cannot be written: {error.strerror}") from error
    return sha256(text.encode())


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target, locked while it is used, so that others can tell that its writer lives. It
    is removed, if it is still there, at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = target.parent / temporary_name(target.name)
        folder.mkdir()
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # some network file systems have no locks for folders
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():  # otherwise another writer has removed it before it was locked
                break
            os.close(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _put(fresh: Path, target: Path) -> None:
    """Give a folder its target's name, and what had this name the folder's: in one step where the system can exchange
    names, so that a bundle is there at every moment."""
    for _ in range(_MOST_WRITERS):
        if _exchanged(fresh, target):
            return
        old = target.parent / temporary_name(target.name)
        moved = False
        with suppress(FileNotFoundError):
            target.rename(old)
            moved = True
        try:
            fresh.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                if moved:
                    old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)  # another writer was faster; its bundle is replaced in turn
            continue
        shutil.rmtree(old, ignore_errors=True)
        return
    raise OSError(errno.EBUSY, "other writers replace it again and again")


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where one is missing, or the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # an older C library, or another system
        return False
    return bool(renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _remove_abandoned(target: Path) -> None:
    """Remove the temporary folders of this bundle that no living writer holds."""
    walker = Walker(failed=_failed, skip=lambda name: not is_temporary_of(name, target.name))
    for entry in walker.entries(walker.start(str(target.parent))):
        with suppress(OSError):
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(descriptor)


def resolve_target(path: str | os.PathLike[str]) -> Path:
    """The path to which a bundle would be written, with links resolved, so that a link is kept. Writes nothing.

    Raises:
        OutputError: something that is not a bundle exists at the path, or no folder can be created there.
    """
    try:
        target = Path(os.path.realpath(path))
        nearest = next(folder for folder in (target, *target.parents) if kind_of(folder) != "missing")
        if kind_of(nearest) != "folder":
            what = (
                "exists and is not a bundle"
                if nearest == target
                else f"is below {str(nearest)!r}, which is not a folder"
            )
            raise OutputError(f"{str(target)!r} {what}; choose another path")
        if nearest != target or kind_of(target / MANIFEST) != "missing":
            return target
    except OSError as error:
        raise _failed(str(path), error) from error
    except ValueError as error:
        raise OutputError(f"{path!r} is not a path: {error}") from error
    walker = Walker(failed=_failed, skip=lambda _: False)
    if walker.entries(walker.start(str(target))):
        raise OutputError(f"{str(target)!r} exists and is not a bundle; choose another path")
    return target


def _failed(where: str, error: OSError) -> OutputError:
    return OutputError(f"{where!r} cannot be accessed: {error.strerror}; choose another path")


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
