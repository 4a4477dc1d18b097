"""The locks of an output in an object store: leases (`storage/lease.py`), of the whole output, of shards, and of the
division of work among them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from ..errors import StorageError
from ..storage.lease import Lease, LeaseHeldError, LeaseLostError, Waiting, described
from ..storage.remote import Bucket
from .lock import locked_by
from .store import LOCK, SHARDS, storage_error

Result = TypeVar("Result")


class ObjectLocks:
    """The locks of one output, and those among them that this process has taken.

    Args:
        prefix: of the output, with `/` at its end.
        root: its URI.
    """

    def __init__(self, bucket: Bucket, prefix: str, root: str) -> None:
        self._bucket, self._prefix, self._root = bucket, prefix, root
        self._leases: list[Lease] = []

    @contextmanager
    def output(self, run_id: str, waiting: Waiting | None = None) -> Iterator[None]:
        with self._hold(f"{LOCK}/", run_id, waiting):
            for prefix in self._taking(self._shard_locks):
                self._refuse_held(prefix, waiting)
            yield

    @contextmanager
    def shard(self, shard: str, run_id: str, waiting: Waiting | None = None) -> Iterator[None]:
        # Both take their own lock before they look at the other's, so that one of them sees the other.
        with self._hold(f"{SHARDS}/{shard}.lock/", run_id, waiting):
            self._refuse_held(f"{LOCK}/", waiting)
            yield

    def plan(self, run_id: str) -> AbstractContextManager[None]:
        return self._hold(f"{SHARDS}/plan.lock/", run_id, None)

    def record(self) -> bytes:
        if self._leases:
            return self._leases[0].record
        held = [one.key for one in self._bucket.list(self._key(LOCK)) if one.key.endswith(".held")]
        return self._bucket.read(max(held)) if held else b""

    @contextmanager
    def _hold(self, prefix: str, run_id: str, waiting: Waiting | None) -> Iterator[None]:
        lease = Lease(self._bucket, self._key(prefix), described(run_id), waiting)
        try:
            self._taking(lease.take)
            self._leases.append(lease)
            yield
        finally:
            if lease in self._leases:
                self._leases.remove(lease)
            lease.release()

    def _refuse_held(self, prefix: str, waiting: Waiting | None) -> None:
        self._taking(Lease(self._bucket, self._key(prefix), {}, waiting).refuse_held)

    def _taking(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except LeaseHeldError as error:
            raise locked_by(self._root, str(error)) from error
        except OSError as error:
            raise storage_error(self._root, error) from error

    def _shard_locks(self) -> list[str]:
        """The prefixes of the locks of shards."""
        keys = (one.key.removeprefix(self._prefix) for one in self._bucket.list(self._key(SHARDS)))
        return sorted({key.rpartition("/")[0] + "/" for key in keys if ".lock/" in key})

    def check(self) -> None:
        """Raise StorageError unless every lock that was taken is certainly held."""
        for lease in self._leases:
            try:
                lease.check()
            except LeaseLostError as error:
                raise StorageError(
                    f"the lock of {self._root} may be lost: {error}; nothing more was written; run the same command"
                    " again"
                ) from error

    def _key(self, name: str) -> str:
        return self._prefix + name
