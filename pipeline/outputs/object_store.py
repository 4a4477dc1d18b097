"""The output below a prefix in an object store.

There is no rename: a file is finished on the local disk and uploaded, and an object is visible once it is complete.
What protects it are a lease (`storage/lease.py`), which is checked before every change, and conditional requests: a new
object is created, another one replaced only if it is still the one that was listed. A listing at the end compares the
ETags of all parts with those that were written.
"""

import secrets
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ..digests import sha256
from ..errors import OutputError, StorageError
from ..storage.byte_budget import ByteBudget
from ..storage.folders import Entry, Failed, is_hidden
from ..storage.lease import Waiting
from ..storage.objects import read_objects
from ..storage.plain_files import Kind
from ..storage.remote import MULTIPART_BYTES, Bucket, RemoteObject, bucket_of
from ..storage.temporaries import temporary_name
from ..storage.uris import ChangedError, parse_uri
from .naming import REJECTS
from .object_locks import ObjectLocks
from .store import PLAN, SHARDS, Store, Stored, output_error, storage_error

#: The size of the objects that are uploaded at the same time; larger ones than `MULTIPART_BYTES` take no more memory.
UPLOAD_BYTES = 2 * MULTIPART_BYTES
#: The object that shows whether a service compares before it writes.
PROBE = "_scoreline/probe"

Result = TypeVar("Result")


class ObjectStore(Store):
    """An output in an object store. Objects are listed once, when they are first needed, and with `refresh`; the
    changes that this process makes are followed.

    Args:
        uri: of the prefix.
        failed: makes the error for what cannot be accessed.
    """

    root: str
    lock_pause_s, num_readers = 1.0, 32

    def __init__(self, uri: str, *, failed: Failed | None = None) -> None:
        location = parse_uri(uri)
        key = location.key.removesuffix("/")
        self.root = uri.removesuffix("/")
        self._failed = failed or output_error
        self._prefix = f"{key}/" if key else ""
        self._bucket: Bucket = self._reading("", lambda: bucket_of(location))
        self._listed: dict[str, RemoteObject] | None = None
        self._folders: set[str] = set()
        self._locks = ObjectLocks(self._bucket, self._prefix, self.root)
        self._uploading = ByteBudget(UPLOAD_BYTES)
        self._local: Path | None = None

    def num_publishers(self, num_flows: int) -> int:  # noqa: ARG002 - they wait for requests
        return 16

    def prepare(self) -> None:
        """Check that objects can be written, and that the service compares before it replaces. The object for this
        check stays, since others may check at the same time, and a run that is killed would leave it."""
        key, data = self._key(PROBE), f"{secrets.token_hex(8)} shows that writes are conditional\n".encode()
        try:
            _refused(lambda: self._bucket.create(key, data))
            etag = self._bucket.head(key).etag
            replaced = not _refused(lambda: self._bucket.replace(key, data[::-1], etag=etag))
            if (
                (replaced or self._bucket.head(key).etag != etag)  # another run may have been faster
                and _refused(lambda: self._bucket.create(key, data))
                and _refused(lambda: self._bucket.replace(key, data, etag="0" * 32))
            ):
                return
            with suppress(OSError):
                self._bucket.delete(key)
        except OSError as error:
            raise storage_error(self.root, error) from error
        raise OutputError(
            f"{self.root} is in a service that does not support conditional writes, without which two runs could damage"
            " each other's output; choose another --output"
        )

    def lock(self, run_id: str, waiting: Waiting | None = None) -> AbstractContextManager[None]:
        return self._locks.output(run_id, waiting)

    def lock_shard(self, shard: str, run_id: str, waiting: Waiting | None = None) -> AbstractContextManager[None]:
        return self._locks.shard(shard, run_id, waiting)

    def _try_lock_plan(self, run_id: str) -> AbstractContextManager[None]:
        return self._locks.plan(run_id)

    def lock_record(self) -> bytes:
        return self._locks.record()

    def refresh(self) -> None:
        found = self._reading("", lambda: list(self._bucket.list(self._prefix.removesuffix("/"))))
        start = len(self._prefix)
        self._listed = {one.key[start:]: one for one in sorted(found) if one.key[start:]}
        self._folders = _folders(self._listed)

    def _objects(self) -> dict[str, RemoteObject]:
        if self._listed is None:
            self.refresh()
        assert self._listed is not None, "it was listed just now"
        return self._listed

    def kind(self, name: str) -> Kind:
        if self._listed is not None:
            return "file" if name in self._listed else "folder" if name in self._folders else "missing"
        if name != "_scoreline" and self._head(name) is not None:
            return "file"
        below = self._reading(name, lambda: next(self._bucket.list(self._key(name)), None))
        return "missing" if below is None else "folder"

    def read(self, name: str) -> bytes:
        return self._bucket.read(self._key(name))

    def entries(self) -> Iterator[Entry]:
        for name, found in list(self._objects().items()):
            if not any(map(is_hidden, name.split("/"))):
                yield Entry(str(self.path(name)), name, "file", is_link=False, listed=found)

    def rejects_files(self) -> Iterator[str]:
        names = [name for name in self._objects() if name.startswith(f"{REJECTS}/") and name.endswith(".arrow")]
        return iter(names)

    def temporaries(self) -> list[str]:
        return []

    def refuse_irregular(self) -> None:
        return

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        path = self.temporary(name)
        try:
            self._bucket.download(self._key(name), path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def etag(self, name: str) -> str | None:
        found = self._objects().get(name)
        return None if found is None else found.etag

    def is_rewritten(self, before: str | None, now: str | None) -> bool:
        return None not in (before, now) and before != now

    def kept_digest(self, name: str) -> str | None:
        return self._reading(name, lambda: self._bucket.digest(self._key(name))[0])

    def temporary(self, name: str) -> Path:
        if self._local is None:
            try:
                self._local = Path(tempfile.mkdtemp(prefix="scoreline-"))
            except OSError as error:
                raise storage_error(tempfile.gettempdir(), error) from error
            self._close = weakref.finalize(self, shutil.rmtree, self._local, ignore_errors=True)
        return self._local / temporary_name(name)

    def publish(self, temporary: Path, target: str, digest: str | None = None) -> Stored:
        stored = self._put(target, temporary, digest)
        self.discard(temporary)
        return stored

    def discard(self, temporary: Path) -> None:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

    def remove_temporaries(self) -> list[str]:
        return []

    def write(self, name: str, data: bytes) -> None:
        self._put(name, data, sha256(data))

    def add_line(self, name: str, line: bytes) -> None:
        """Write an object for the line, since objects cannot be appended to. It is named by the time, for the order."""
        self._locks.check()
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        key = self._key(f"{PurePosixPath(name).with_suffix('')}/{now}-{secrets.token_hex(4)}.json")
        self._changing(name, lambda: self._bucket.write(key, line))

    def lines(self, name: str) -> list[bytes]:
        below = self._key(str(PurePosixPath(name).with_suffix("")))
        found = read_objects([f"{self._bucket.uri}/{one.key}" for one in sorted(self._bucket.list(below))])
        for error in found:
            if isinstance(error, OSError):
                raise error
        return [line for data in found if isinstance(data, bytes) for line in data.splitlines()]

    def remove(self, name: str) -> None:
        self._locks.check()
        if self._listed is None or name in self._listed:
            self._changing(name, lambda: self._bucket.delete(self._key(name)))
            self._objects_changed(name, None)

    def remove_shards(self) -> None:
        found = self._reading(SHARDS, lambda: list(self._bucket.list(self._key(SHARDS))))
        names = [one.key.removeprefix(self._prefix) for one in found]
        for name in sorted(names, key=lambda name: name != PLAN):
            self.remove(name)

    def _put(self, name: str, data: bytes | Path, digest: str | None) -> Stored:
        """Upload a file, in place of the object that was listed, if there was one."""
        self._locks.check()
        key, size = self._key(name), len(data) if isinstance(data, bytes) else data.stat().st_size
        known = self._head(name) if self._listed is None else self._listed.get(name)

        def put() -> str:
            try:
                if known is None:
                    return self._bucket.create(key, data, digest=digest)
                return self._bucket.replace(key, data, etag=known.etag, digest=digest)
            except (ChangedError, FileNotFoundError):
                now, etag = self._bucket.digest(key)
                if now is None or now != digest:
                    raise
                return etag  # it was written, and the answer was lost

        with self._uploading.taking(min(size, MULTIPART_BYTES)):
            etag = self._changing(name, put)
        self._objects_changed(name, RemoteObject(key, size, etag, 0))
        return Stored(size, etag)

    def _objects_changed(self, name: str, found: RemoteObject | None) -> None:
        if self._listed is None:
            return
        if found is None:
            self._listed.pop(name, None)
        else:
            self._listed[name] = found

    def _head(self, name: str) -> RemoteObject | None:
        def head() -> RemoteObject | None:
            try:
                return self._bucket.head(self._key(name))
            except FileNotFoundError:
                return None

        return self._reading(name, head)

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _reading(self, name: str, call: Callable[[], Result]) -> Result:
        """Make a call; its errors are those of an output that cannot be accessed."""
        try:
            return call()
        except OSError as error:
            raise self._failed(str(self.path(name) if name else self.root), error) from error

    def _changing(self, name: str, call: Callable[[], Result]) -> Result:
        """Make a call that changes the output; its errors are typed."""
        try:
            return call()
        except (ChangedError, FileNotFoundError) as error:
            raise StorageError(
                f"{self.path(name)} was changed by another program during the run; run the same command again"
            ) from error
        except OSError as error:
            raise storage_error(self.path(name), error) from error


def _folders(names: Iterable[str]) -> set[str]:
    """The folders that files are in, and theirs."""
    found = set[str]()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _refused(write: Callable[[], object]) -> bool:
    try:
        write()
    except ChangedError:
        return True
    return False
