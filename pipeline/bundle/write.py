"""Writes a bundle: to a temporary folder next to its path, which is then renamed. Independent of torch."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ...schemas.bundle import BundleManifest
from ..errors import OutputError
from ..storage.folders import Walker
from ..storage.plain_files import kind_of
from ..storage.temporaries import is_temporary_of, temporary_name
from .bundle import MANIFEST, sha256

#: How often a bundle is renamed to its path while others put theirs there.
_MOST_WRITERS = 100


def write_bundle(path: str | os.PathLike[str], manifest: BundleManifest, files: Mapping[str, bytes]) -> str:
    """Write a bundle to a temporary folder, then rename it; an older bundle is replaced as a whole. Of several writers
    of one bundle, each replaces what another has written. Temporaries of writers that were killed are removed.

    Returns:
        Its digest.

    Raises:
        OutputError: something that is not a bundle exists at the path, or it cannot be written.
    """
    target = resolve_target(path)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
    fresh = target.parent / temporary_name(target.name)
    try:
        fresh.mkdir(parents=True)
        with _held(fresh):
            try:
                for name, data in {**files, MANIFEST: text.encode()}.items():
                    _write_synced(fresh / name, data)
                _put(fresh, target)
            except OSError:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
            _remove_abandoned(target)
    except OSError as error:
        raise OutputError(f"bundle {str(target)!r} cannot be written: {error.strerror}") from error
    return sha256(text.encode())


def _put(fresh: Path, target: Path) -> None:
    """Rename a folder to its target, from which an older bundle is moved away."""
    for _ in range(_MOST_WRITERS):
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


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a folder while this process uses it, so that others can tell that it is in use."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks for folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(target: Path) -> None:
    """Remove the temporary folders of this bundle that no living writer holds."""
    walker = Walker(failed=_failed, skip=lambda name: not is_temporary_of(name, target.name))
    everything = Walker(failed=_failed, skip=lambda _: False)
    for entry in walker.entries(walker.start(str(target.parent))):
        with suppress(OSError):
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if everything.entries(everything.start(entry.path)):  # an empty one may not be held yet
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
