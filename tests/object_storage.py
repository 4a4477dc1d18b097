"""Object storage on the loopback interface, with a record of every request and a hook to change what happens to it:
moto's S3 server in this process, or another service behind this process."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, flock
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from socket import SHUT_RDWR, socket
from threading import Thread
from typing import Any, NamedTuple

import pytest
from scoreline.pipeline.storage.remote import Bucket

#: moto's account, and the only partition of regions that the tests use.
ACCOUNT, REGIONS = "123456789012", "aws"
SECRET = "a-secret-key-that-must-not-be-shown"
REGION = "us-east-1"
#: How signatures begin in headers and query strings.
SIGNATURES = ("Signature=", "&sig=", "SharedKey ")
#: Of the buckets of this process.
_numbers = count(1)


class Request(NamedTuple):
    """A request that the server has received. `range`: its Range header; `key_id`: of the credentials."""

    method: str
    path: str
    query: str
    range: str
    key_id: str


#: Answers of a hook: carry the request out, then close the connection without an answer; close it at once.
LOSE, RESET = "lose", "reset"
#: Called before a request is answered. Returns an answer in its place: the status, the headers and the body, or one of
#: the above, or what is called between carrying it out and closing the connection; None to let the server answer.
Hook = Callable[[Request], Any]


@dataclass(kw_only=True)
class ObjectServer:
    """The server. `requests`: all that it has received; `ignored`: names of headers that it does not know."""

    endpoint: str = ""
    requests: list[Request] = field(default_factory=list, repr=False)
    hook: Hook | None = None
    ignored: tuple[str, ...] = ()

    def answer(self, app: Any, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        signed = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        request = Request(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_RANGE", ""),
            signed,
        )  # fmt: skip
        self.requests.append(request)
        for name in self.ignored:
            environ.pop(f"HTTP_{name.upper().replace('-', '_')}", None)
        answer = None if self.hook is None else self.hook(request)
        if answer == LOSE or callable(answer):
            b"".join(app(environ, lambda *_: None))
        if callable(answer):
            answer()
        if answer in (LOSE, RESET) or callable(answer):
            environ["werkzeug.socket"].shutdown(SHUT_RDWR)
            raise ConnectionResetError
        if answer is not None:
            status, headers, body = answer
            start_response(status, headers)
            return [body]
        found: Iterable[bytes] = app(environ, start_response)
        return found


@contextmanager
def serving(app: Any) -> Iterator[ObjectServer]:
    """Start a server of a WSGI application on a free port."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
            """Log nothing."""

        def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
            """Report nothing."""

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ObjectServer()
    listening = make_server(
        "127.0.0.1", 0, lambda environ, start: server.answer(app, environ, start), threaded=True, request_handler=Quiet
    )
    server.endpoint = f"http://127.0.0.1:{listening.port}"
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def forwarding(port: int) -> Any:
    """A WSGI application that passes requests on to a service of this machine."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        names = {name: name.removeprefix("HTTP_") for name in environ if name.startswith(("HTTP_", "CONTENT_"))}
        headers = {new.replace("_", "-"): environ[old] for old, new in names.items() if environ[old]}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, headers)
            answer = connection.getresponse()
            data = answer.read()
        found = [pair for pair in answer.getheaders() if pair[0].lower() not in _OF_CONNECTIONS]
        start_response(f"{answer.status} {answer.reason}", found)
        return [data]

    return app


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_for(call: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a call succeeds. Raises OSError if it does not."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            call()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


#: Headers of one connection, which are not passed on.
_OF_CONNECTIONS = ("connection", "date", "keep-alive", "server", "transfer-encoding")


class UnavailableError(Exception):
    """A service cannot be had on this machine."""


@contextmanager
def preparing(cache: Path) -> Iterator[bool]:
    """Whether a folder must be filled, with a lock on it: several processes run tests at once. It is complete if the
    block ends without an error."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        flock(file, LOCK_EX)
        missing = not (cache / "complete").exists()
        yield missing
        (cache / "complete").touch()


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service. `scheme`: of its URIs; `environment`: its variables; `create`, `remove`: called with the name of a new
    bucket, and of one that has been emptied."""

    server: ObjectServer
    scheme: str
    environment: Mapping[str, str]
    create: Callable[[str], None]
    remove: Callable[[str], None]

    def shown(self, texts: Iterable[str | bytes]) -> list[str]:
        """The secrets and signatures that appear in some texts."""
        keys = [value for name, value in self.environment.items() if name.endswith("_KEY")]
        data = [text.encode() if isinstance(text, str) else text for text in texts]
        return [secret for secret in (*keys, *SIGNATURES) if any(secret.encode() in text for text in data)]


@contextmanager
def moto() -> Iterator[Service]:
    """Moto's S3 server."""
    from moto.s3.models import s3_backends
    from moto.server import DomainDispatcherApplication, create_backend_app

    backend = s3_backends[ACCOUNT][REGIONS]
    with serving(DomainDispatcherApplication(create_backend_app)) as server:
        environment = s3_environment(server.endpoint, "a-key-id", SECRET)
        yield Service(
            server=server, scheme="s3", environment=environment, remove=backend.delete_bucket,
            create=lambda name: backend.create_bucket(name, REGION),
        )  # fmt: skip


def s3_environment(endpoint: str, key_id: str, secret: str) -> dict[str, str]:
    """The variables of an S3 service."""
    return {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": REGION
    }  # fmt: skip


def use_service(service: Service, patch: pytest.MonkeyPatch) -> None:
    """Set the variables of a service in the environment, and none of another one."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")) or name.lower().endswith("_proxy"):
            patch.delenv(name)
    for name, value in service.environment.items():
        patch.setenv(name, value)


#: A test of which the long form runs with other services, too.
every_service = pytest.mark.parametrize(
    "storage",
    ["moto", *(pytest.param(name, marks=pytest.mark.long) for name in ("ceph", "azurite", "google"))],
    indirect=True,
)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A bucket of one test. `uri`: `s3://name`; `bucket`: its objects, as Scoreline reads and writes them."""

    service: Service
    name: str
    bucket: Bucket

    @property
    def uri(self) -> str:
        return self.bucket.uri

    @property
    def server(self) -> ObjectServer:
        return self.service.server

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self.bucket.write(key, data)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """The objects below a prefix that ends in `/`, which their names do not have."""
        keys = [one.key for one in self.bucket.list(prefix.removesuffix("/"))]
        return {key.removeprefix(prefix): self.bucket.read(key) for key in keys}

    def clear(self) -> None:
        """Remove all objects."""
        for one in list(self.bucket.list()):
            self.bucket.delete(one.key)

    def upload(self, folder: Path, prefix: str = "") -> str:
        """Copy the files below a folder. Returns the URI of the prefix, which ends in `/`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"{self.uri}/{prefix}"

    @contextmanager
    def requests(self) -> Iterator[list[Request]]:
        """The requests of a block of code, once it has ended."""
        found: list[Request] = []
        start = len(self.server.requests)
        yield found
        found += self.server.requests[start:]

    @contextmanager
    def answering(self, hook: Hook) -> Iterator[None]:
        """Use a hook for the requests of a block of code."""
        self.server.hook = hook
        try:
            yield
        finally:
            self.server.hook = None


class MotoStorage(Storage):
    """A bucket of moto, which is changed without requests."""

    @property
    def _backend(self) -> Any:
        from moto.s3.models import s3_backends

        return s3_backends[ACCOUNT][REGIONS]

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whose key may end in `/`."""
        self._backend.put_object(self.name, key, data)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """The objects below a prefix that ends in `/`, which their names do not have."""
        keys = list(self._backend.buckets[self.name].keys.values())
        return {key.name.removeprefix(prefix): key.value for key in keys if key.name.startswith(prefix)}

    def replace(self, prefix: str, source: str | None) -> None:
        """Remove the objects below a prefix, and copy those below another one there."""
        keys = list(self._backend.buckets[self.name].keys.values())
        for key in keys:
            if key.name.startswith(prefix):
                self._backend.delete_object(self.name, key.name)
        for key in keys:
            if source is not None and key.name.startswith(source):
                self._backend.copy_object(key, self.name, prefix + key.name.removeprefix(source))

    def clear(self) -> None:
        """Remove all objects."""
        self.replace("", None)


@contextmanager
def new_bucket(service: Service, kind: type[Storage] = Storage) -> Iterator[Any]:
    """Create a bucket, and remove it with all its objects. The environment must be that of the service."""
    name = f"bucket-{next(_numbers)}"
    service.create(name)
    created = kind(service=service, name=name, bucket=Bucket(service.scheme, name))
    yield created
    created.clear()
    service.remove(name)
