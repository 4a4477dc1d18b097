"""An S3 server in this process, on the loopback interface: moto's, with a record of every request and a hook to change
what happens to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from socket import SHUT_RDWR
from threading import Thread
from typing import Any, NamedTuple

import pytest
from scoreline.pipeline.storage.remote import Bucket

#: moto's account, and the only partition of regions that the tests use.
ACCOUNT, REGIONS = "123456789012", "aws"
SECRET = "a-secret-key-that-must-not-be-shown"
REGION = "us-east-1"
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
    requests: list[Request] = field(default_factory=list)
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
def serving() -> Iterator[ObjectServer]:
    """Start the server on a free port."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
            """Log nothing."""

        def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
            """Report nothing."""

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app, server = DomainDispatcherApplication(create_backend_app), ObjectServer()
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


def use_server(server: ObjectServer, patch: pytest.MonkeyPatch) -> None:
    """Set the credentials and the endpoint of the server in the environment, and nothing else of a service."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")) or name.lower().endswith("_proxy"):
            patch.delenv(name)
    patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    patch.setenv("AWS_ACCESS_KEY_ID", "a-key-id")
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("AWS_REGION", REGION)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A bucket of one test. `uri`: `s3://name`; `bucket`: its objects, as Scoreline reads and writes them."""

    server: ObjectServer
    name: str
    bucket: Bucket

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whose key may end in `/`."""
        from moto.s3.models import s3_backends

        s3_backends[ACCOUNT][REGIONS].put_object(self.name, key, data)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """The objects below a prefix that ends in `/`, which their names do not have. Makes no request."""
        from moto.s3.models import s3_backends

        keys = list(s3_backends[ACCOUNT][REGIONS].buckets[self.name].keys.values())
        return {key.name.removeprefix(prefix): key.value for key in keys if key.name.startswith(prefix)}

    def replace(self, prefix: str, source: str | None) -> None:
        """Remove the objects below a prefix, and copy those below another one there. Makes no request."""
        from moto.s3.models import s3_backends

        backend = s3_backends[ACCOUNT][REGIONS]
        for key in list(backend.buckets[self.name].keys.values()):
            if key.name.startswith(prefix):
                backend.delete_object(self.name, key.name)
            elif source is not None and key.name.startswith(source):
                backend.copy_object(key, self.name, prefix + key.name.removeprefix(source))

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


@contextmanager
def new_bucket(server: ObjectServer) -> Iterator[Storage]:
    """Create a bucket, and remove it with all its objects. The environment must be that of the server."""
    from moto.s3.models import s3_backends

    backend, name = s3_backends[ACCOUNT][REGIONS], f"bucket-{next(_numbers)}"
    backend.create_bucket(name, REGION)
    created = Storage(server=server, name=name, bucket=Bucket("s3", name))
    yield created
    created.replace("", None)
    backend.delete_bucket(name)
