"""Reads and writes objects in S3, Google Cloud Storage and Azure, through obstore (`scoreline[remote]`). Independent of
what the objects are for.

Errors are OSErrors, as those of local files: FileNotFoundError, PermissionError, `ChangedError` for an object that is
no longer the one it was, and EIO for everything else: `UnansweredError` where two minutes of retrying were in vain.
"""

import errno
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from ..errors import StorageError, counted
from .access import open_bucket, reason_of
from .uris import ChangedError, Location, UnansweredError, parse_uri

#: Bytes that are received at a time.
CHUNK_BYTES = 1 << 20
#: Objects above this are uploaded in parts, four at once.
PART_BYTES, MULTIPART_BYTES, PARTS_AT_ONCE = 8 << 20, 64 << 20, 4
#: The name under which services keep the digest of an object.
_DIGEST = "sha256"
_CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}
#: Asked for only to see whether there is an answer.
_NO_OBJECT = "_scoreline/answer"
#: How the reasons of answers to wrong or expired credentials begin.
_DENIED = (
    "AccessDenied", "Authentication", "Authorization", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "SignatureDoesNotMatch",
)  # fmt: skip

#: What the library says of a request that it has tried again, and of the last answer.
_RETRIED, _STATUS = " retries, ", re.compile(r"status code: (\d{3})")

Result = TypeVar("Result")


class RemoteObject(NamedTuple):
    """An object as a listing describes it. `etag`: identifies its content; `modified_ns`: when it was written, by the
    clock of the service, in nanoseconds since 1970."""

    key: str
    size: int
    etag: str
    modified_ns: int


def bucket_of(location: Location) -> "Bucket":
    """The bucket of a location, one for each process.

    Raises:
        UsageError: obstore is not installed.
        OSError: no credentials are set, or the endpoint cannot be reached.
    """
    return _bucket(location.scheme, location.bucket)


@cache
def _bucket(scheme: str, bucket: str) -> "Bucket":
    return Bucket(scheme, bucket)


def require_service(uri: str) -> None:
    """Check that the service of an object answers, whatever it says.

    Raises:
        StorageError: it does not answer for ten seconds.
    """
    location = parse_uri(uri)
    try:
        Bucket(location.scheme, location.bucket, patient=False).head(_NO_OBJECT)
    except UnansweredError as error:
        raise StorageError(
            f"{location.scheme}://{location.bucket} does not answer any more: {error.strerror or error}; check the"
            " service, then run the same command again"
        ) from error
    except OSError:
        return


class Bucket:
    """The objects of a bucket, or of an Azure container. Safe for threads.

    Credentials and endpoints are those of the standard environment variables.

    Args:
        patient: try requests for two minutes instead of ten seconds.
    """

    def __init__(self, scheme: str, bucket: str, *, patient: bool = True) -> None:
        self.uri = f"{scheme}://{bucket}"
        self._obstore, self._store = open_bucket(scheme, bucket, patient=patient)
        self._quoted = True

    def list(self, prefix: str = "") -> Iterator[RemoteObject]:
        """The objects below a prefix of whole steps, in no particular order."""
        stream = self._call(prefix, lambda: self._obstore.list(self._store, prefix or None, chunk_size=1000))
        while chunk := self._call(prefix, lambda: next(stream, None)):
            for meta in chunk:
                yield _object(meta)

    def folders(self, prefix: str = "") -> Iterator[str]:
        """The prefixes one step below a prefix of whole steps, without the `/` at their ends, in order."""
        found = self._call(prefix, lambda: self._obstore.list_with_delimiter(self._store, prefix or None))
        yield from sorted(found["common_prefixes"])

    def head(self, key: str) -> RemoteObject:
        """What a listing says of one object."""
        return _object(self._call(key, lambda: self._obstore.head(self._store, key)))

    def read(self, key: str, *, etag: str | None = None, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes of an object, or some of them.

        Args:
            etag: raise ChangedError unless the object still has it.
        """
        return b"".join(self.stream(key, etag=etag, start=start, stop=stop))

    def stream(
        self, key: str, *, etag: str | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[memoryview]:
        """The bytes of an object from `start` to before `stop`, in one request and in pieces of about `CHUNK_BYTES`.

        Args:
            etag: raise ChangedError unless the object still has it.

        Raises:
            OSError: also if the answer is shorter than the object or the range.
        """
        wanted: Any = (start, stop) if stop is not None else {"offset": start} if start else None
        found = self._call(key, lambda: self._get(key, etag, wanted))
        first, last = found.range
        pieces, received = iter(found.stream(min_chunk_size=CHUNK_BYTES)), 0
        while (piece := self._call(key, lambda: next(pieces, None))) is not None:
            data = memoryview(piece)
            received += len(data)
            yield data
        if received != (last if stop is None else stop) - first:
            raise OSError(errno.EIO, f"the answer ended after {counted(received, 'byte')}", f"{self.uri}/{key}")

    def read_end(self, key: str, count: int, *, etag: str | None = None) -> tuple[bytes, RemoteObject]:
        """The last `count` bytes of an object, or all if it has fewer, and what it is, in one request.

        Args:
            etag: raise ChangedError unless the object still has it.
        """

        def get() -> tuple[bytes, RemoteObject]:
            try:
                found = self._get(key, etag, {"suffix": count})
            except (self._obstore.exceptions.NotSupportedError, self._obstore.exceptions.GenericError) as error:
                # Azure has no such ranges, and an empty object has no range at all.
                if _is_unanswered(error):
                    raise
                now = self.head(key)
                if now.size and isinstance(error, self._obstore.exceptions.GenericError):
                    raise
                if not now.size:
                    return b"", now
                found = self._get(key, etag, (max(0, now.size - count), now.size))
            return found.bytes().to_bytes(), _object(found.meta)

        return self._call(key, get)

    def download(self, key: str, path: Path, *, etag: str | None = None) -> None:
        """Write an object to a local file, in pieces. Raises ChangedError unless it still has the ETag."""
        with path.open("wb") as file:
            for piece in self.stream(key, etag=etag):
                file.write(piece)

    def create(self, key: str, data: bytes | Path, *, digest: str | None = None) -> str:
        """Write a new object and return its ETag.

        Args:
            digest: kept with the object; `digest` returns it.

        Raises:
            ChangedError: it exists. If an answer was lost, that may be the very object that was written.
        """
        return self._put(key, data, "create", digest)

    def replace(self, key: str, data: bytes | Path, *, etag: str, digest: str | None = None) -> str:
        """Replace an object, if it still has this ETag, and return the new one. Raises ChangedError if not, as
        `create` does."""
        return self._put(key, data, etag, digest)

    def write(self, key: str, data: bytes | Path, *, digest: str | None = None) -> str:
        """Write an object, whether it exists or not, and return its ETag."""
        return self._put(key, data, None, digest)

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        try:
            self._call(key, lambda: self._obstore.delete(self._store, key))
        except FileNotFoundError:
            return

    def digest(self, key: str) -> tuple[str | None, str]:
        """The digest that was given when an object was written, None if none was, and its ETag."""
        found = self._call(key, lambda: self._obstore.get(self._store, key, options={"head": True}))
        digest = {name.lower(): value for name, value in found.attributes.items()}.get(_DIGEST)
        return digest, _object(found.meta).etag

    def _put(self, key: str, data: bytes | Path, mode: str | None, digest: str | None) -> str:
        """Write an object. `mode`: "create", the ETag that it must have, or None for neither."""
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        in_parts = size > MULTIPART_BYTES
        if in_parts:  # services have no conditional uploads in parts
            self._require(key, mode)
        attributes = {"Content-Type": _content_type(key)} | ({} if digest is None else {_DIGEST: digest})

        def put(etag: str | None) -> str:
            how = "overwrite" if in_parts else self._mode(key, mode, etag)
            made = self._obstore.put(
                self._store, key, data, mode=how, attributes=attributes, use_multipart=in_parts, chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )  # fmt: skip
            return str(made["e_tag"] or "").strip('"') or self._etag_of(key, digest)

        if mode in (None, "create") or in_parts:
            return self._call(key, lambda: put(None))
        return self._call(key, lambda: self._as_expected(key, str(mode), put))

    def _etag_of(self, key: str, digest: str | None) -> str:
        """The ETag of an object that was written just now."""
        found, etag = self.digest(key)
        if found != digest:
            raise ChangedError(errno.ESTALE, "the object has changed", f"{self.uri}/{key}")
        return etag

    def _require(self, key: str, mode: str | None) -> None:
        """Raise ChangedError unless an object is as it must be before it is written."""
        if mode is None:
            return
        try:
            found = self.head(key).etag
        except FileNotFoundError:
            found = "create"
        if found != mode:
            raise ChangedError(errno.ESTALE, "the object has changed", f"{self.uri}/{key}")

    def _mode(self, key: str, mode: str | None, etag: str | None) -> Any:
        """The mode of a request, as the library expects it. `etag`: the one in `mode`, as it is sent."""
        if mode is None or mode == "create":
            return mode or "overwrite"
        if not self.uri.startswith("gs:"):
            return {"e_tag": etag}
        now = self._obstore.head(self._store, key)  # Google compares versions, not ETags
        if _object(now).etag != mode:
            raise ChangedError(errno.ESTALE, "the object has changed", f"{self.uri}/{key}")
        return {"e_tag": mode, "version": now["version"]}

    def _get(self, key: str, etag: str | None, wanted: Any) -> Any:
        """The answer to a request, for an object that still has the ETag."""
        options: dict[str, Any] = {} if wanted is None else {"range": wanted}

        def get(sent: str) -> Any:
            return self._obstore.get(self._store, key, options={**options, "if_match": sent})

        return self._as_expected(key, etag, get) if etag else self._obstore.get(self._store, key, options=options)

    def _as_expected(self, key: str, etag: str, call: Callable[[str], Result]) -> Result:
        """Make a call with an ETag, with quotes or without, as the service compares it. Older Ceph wants none."""
        forms = [f'"{etag}"', etag]
        quoted = self._quoted  # another thread may change it meanwhile
        try:
            return call(forms[not quoted])
        except self._obstore.exceptions.PreconditionError:
            if self.head(key).etag != etag:
                raise
            result = call(forms[quoted])
            self._quoted = not quoted
            return result

    def _call(self, key: str, call: Callable[[], Result]) -> Result:
        """Make a call; its errors become OSErrors that name the object."""
        errors = self._obstore.exceptions
        where = f"{self.uri}/{key}"
        try:
            return call()
        except ChangedError:
            raise
        except errors.AlreadyExistsError as error:
            raise ChangedError(errno.EEXIST, "the object exists already", where) from error
        except errors.PreconditionError as error:
            raise ChangedError(errno.ESTALE, "the object has changed", where) from error
        except (errors.NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such object, or no such bucket", where) from error
        except (errors.PermissionDeniedError, errors.UnauthenticatedError, PermissionError) as error:
            raise PermissionError(
                errno.EACCES, f"the credentials do not permit it ({reason_of(error)})", where
            ) from error
        except errors.BaseError as error:
            raise _typed(error, where) from error


def _content_type(key: str) -> str:
    return _CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def _object(meta: Mapping[str, Any]) -> RemoteObject:
    modified = meta["last_modified"]
    nanoseconds = int(modified.timestamp()) * 10**9 + modified.microsecond * 1000
    return RemoteObject(meta["path"], meta["size"], str(meta["e_tag"] or "").strip('"'), nanoseconds)


def _is_unanswered(error: BaseException) -> bool:
    """Whether a request was tried again in vain, and the last answer, if there was one, is an error of the service."""
    text = str(error)
    status = _STATUS.search(text)
    return _RETRIED in text and (status is None or int(status[1]) >= 500)


def _typed(error: BaseException, where: str) -> OSError:
    """The error for an answer that the library does not distinguish from others."""
    reason = reason_of(error)
    if reason.startswith(("NoSuchBucket", "ContainerNotFound")):
        return FileNotFoundError(errno.ENOENT, "there is no such bucket", where)
    if reason.startswith(_DENIED):
        return PermissionError(errno.EACCES, f"the credentials do not permit it ({reason})", where)
    return (UnansweredError if _is_unanswered(error) else OSError)(errno.EIO, reason, where)
