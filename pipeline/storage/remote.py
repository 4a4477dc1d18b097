"""Reads and writes objects in S3, Google Cloud Storage and Azure, through obstore (`scoreline[remote]`). Independent of
what the objects are for.

Errors are OSErrors, as those of local files: FileNotFoundError, PermissionError, `ChangedError` for an object that is
no longer the one it was, and EIO for everything else that is not solved by retrying for two minutes.
"""

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ..errors import UsageError, counted, one_line
from .uris import SERVICES, ChangedError, Location, Service

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig


#: Set to 1 to use the credentials of the machine's metadata service.
METADATA_VARIABLE = "SCORELINE_INSTANCE_CREDENTIALS"
#: A service that is overloaded answers 503 for half a minute.
RETRIES: "RetryConfig" = {
    "max_retries": 60,
    "retry_timeout": timedelta(seconds=120),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
#: A request may take long if its answer is large, but not without receiving anything.
TIMEOUTS = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "1h"}
#: How long to wait for an endpoint that is named by the environment to accept a connection.
ENDPOINT_S = 10.0
#: The variables that name a proxy, without which the endpoint may not be reachable.
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
#: Bytes that are received at a time.
CHUNK_BYTES = 1 << 20
#: Objects above this are uploaded in parts, four at once.
PART_BYTES, MULTIPART_BYTES, PARTS_AT_ONCE = 8 << 20, 64 << 20, 4
#: How the reasons of answers to wrong or expired credentials begin.
_DENIED = ("AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")

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


class Bucket:
    """The objects of a bucket, or of an Azure container. Safe for threads.

    Credentials and endpoints are those of the standard environment variables.
    """

    def __init__(self, scheme: str, bucket: str) -> None:
        self.uri = f"{scheme}://{bucket}"
        service = SERVICES[scheme]
        _require_credentials(service, self.uri)
        endpoint = next(filter(None, map(os.environ.get, service.endpoints)), "")
        if endpoint:
            _require_endpoint(endpoint, self.uri)
        self._obstore, self._store = _opened(scheme, bucket, self.uri, plain=endpoint.startswith("http://"))
        #: Older Ceph compares ETags without their quotes.
        self._unquoted = False

    def list(self, prefix: str = "") -> Iterator[RemoteObject]:
        """The objects below a prefix of whole steps, in no particular order."""
        stream = self._call(prefix, lambda: self._obstore.list(self._store, prefix or None, chunk_size=1000))
        while chunk := self._call(prefix, lambda: next(stream, None)):
            for meta in chunk:
                yield _object(meta)

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

    def create(self, key: str, data: bytes | Path) -> str:
        """Write a new object and return its ETag. Raises ChangedError if it exists."""
        return self._put(key, data, "create")

    def replace(self, key: str, data: bytes | Path, *, etag: str) -> str:
        """Replace an object, if it still has this ETag, and return the new one. Raises ChangedError if not."""
        return self._put(key, data, {"e_tag": self._quoted(etag)})

    def write(self, key: str, data: bytes | Path) -> str:
        """Write an object, whether it exists or not, and return its ETag."""
        return self._put(key, data, "overwrite")

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        try:
            self._call(key, lambda: self._obstore.delete(self._store, key))
        except FileNotFoundError:
            return

    def _put(self, key: str, data: bytes | Path, mode: Any) -> str:
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        several = mode == "overwrite" and size > MULTIPART_BYTES  # services have no conditional uploads in parts

        def put() -> str:
            made = self._obstore.put(
                self._store, key, data, mode=mode, use_multipart=several, chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )  # fmt: skip
            return str(made["e_tag"] or self._obstore.head(self._store, key)["e_tag"]).strip('"')

        return self._call(key, put)

    def _get(self, key: str, etag: str | None, wanted: Any) -> Any:
        """The answer to a request, for an object that still has the ETag."""
        options: dict[str, Any] = {} if wanted is None else {"range": wanted}
        if not etag:
            return self._obstore.get(self._store, key, options=options)
        try:
            return self._obstore.get(self._store, key, options={**options, "if_match": self._quoted(etag)})
        except self._obstore.exceptions.PreconditionError:
            if self._unquoted or self.head(key).etag != etag:
                raise
            self._unquoted = True
            return self._obstore.get(self._store, key, options={**options, "if_match": etag})

    def _quoted(self, etag: str) -> str:
        return etag if self._unquoted else f'"{etag}"'

    def _call(self, key: str, call: Callable[[], Result]) -> Result:
        """Make a call; its errors become OSErrors that name the object."""
        errors = self._obstore.exceptions
        where = f"{self.uri}/{key}"
        try:
            return call()
        except errors.AlreadyExistsError as error:
            raise ChangedError(errno.EEXIST, "the object exists already", where) from error
        except errors.PreconditionError as error:
            raise ChangedError(errno.ESTALE, "the object has changed", where) from error
        except (errors.NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such object, or no such bucket", where) from error
        except (errors.PermissionDeniedError, errors.UnauthenticatedError, PermissionError) as error:
            raise PermissionError(
                errno.EACCES, f"the credentials do not permit it ({_reason(error)})", where
            ) from error
        except errors.BaseError as error:
            raise _typed(_reason(error), where) from error


def _opened(scheme: str, bucket: str, uri: str, *, plain: bool) -> tuple[Any, "ObjectStore"]:
    """The library and the store. Raises OSError if the variables are inconsistent.

    Args:
        plain: whether its endpoint is one without TLS.
    """
    try:
        import obstore  # an extra: only URIs need it
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs obstore; install it with: pip install 'scoreline[remote]'") from error
    options: Any = {**TIMEOUTS, "allow_http": True} if plain else TIMEOUTS
    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        return obstore, kinds[scheme](bucket, retry_config=RETRIES, client_options=options)
    except (obstore.exceptions.BaseError, ValueError, OSError) as error:
        raise OSError(errno.EIO, f"{SERVICES[scheme].name} cannot be set up: {_reason(error)}", uri) from error


def _require_credentials(service: Service, uri: str) -> None:
    if os.environ.get(METADATA_VARIABLE) != "1" and not any(map(os.environ.get, service.credentials)):
        raise PermissionError(
            errno.EACCES,
            f"there are no credentials for {service.name}: set {service.credentials[0]} and what belongs to it, or"
            f" {METADATA_VARIABLE}=1 to use those of this machine's metadata service",
            uri,
        )


def _require_endpoint(endpoint: str, uri: str) -> None:
    """Raise OSError if nothing accepts connections there: requests would be retried for two minutes."""
    if any(map(os.environ.get, PROXIES)):
        return
    try:
        parts = urlsplit(endpoint)
        where = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection(where, timeout=ENDPOINT_S).close()
    except (OSError, ValueError) as error:
        shown = endpoint.rpartition("@")[2].partition("?")[0]
        raise OSError(errno.EIO, f"the endpoint {shown} cannot be reached ({one_line(error)})", uri) from error


def _object(meta: Mapping[str, Any]) -> RemoteObject:
    modified = meta["last_modified"]
    nanoseconds = int(modified.timestamp()) * 10**9 + modified.microsecond * 1000
    return RemoteObject(meta["path"], meta["size"], str(meta["e_tag"] or "").strip('"'), nanoseconds)


def _reason(error: BaseException) -> str:
    """The text of the service, in one line, without the debug output of the library, and without what its answers
    repeat of the request: URLs and their query strings, which may have signatures."""
    text = one_line(error).partition("Debug source:")[0].strip()
    answers = [re.search(rf"<{name}>(.*?)</{name}>", text) for name in ("Code", "Message")]
    if answers[0] is not None:
        return ": ".join(found[1] for found in answers if found is not None)[:300]
    return re.sub(r"https?://[^\s\"')]*", "…", text.partition("<?xml")[0].strip())[:300]


def _typed(reason: str, where: str) -> OSError:
    """The error for an answer that the library does not distinguish from others."""
    if reason.startswith("NoSuchBucket"):
        return FileNotFoundError(errno.ENOENT, "there is no such bucket", where)
    if reason.startswith(_DENIED):
        return PermissionError(errno.EACCES, f"the credentials do not permit it ({reason})", where)
    return OSError(errno.EIO, reason, where)
