"""An S3 server in this process, on the loopback interface: moto's, with a record of every request and a hook to change
what happens to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import SHUT_RDWR
from threading import Thread
from typing import Any, NamedTuple

from scoreline.pipeline.storage.remote import Bucket

#: moto's account, and the only partition of regions that the tests use.
ACCOUNT, REGIONS = "123456789012", "aws"
SECRET = "a-secret-key-that-must-not-be-shown"
REGION = "us-east-1"


class Request(NamedTuple):
    """A request that the server has received. `range`: its Range header."""

    method: str
    path: str
    query: str
    range: str


#: Answers of a hook: carry the request out, then close the connection without an answer; close it at once.
LOSE, RESET = "lose", "reset"
#: Called before a request is answered. Returns an answer in its place: the status, the headers and the body, or one of
#: the above; None to let the server answer.
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
        request = Request(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_RANGE", "")
        )
        self.requests.append(request)
        for name in self.ignored:
            environ.pop(f"HTTP_{name.upper().replace('-', '_')}", None)
        answer = None if self.hook is None else self.hook(request)
        if answer == LOSE:
            b"".join(app(environ, lambda *_: None))
        if answer in (LOSE, RESET):
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


def create_bucket(name: str) -> None:
    """Create a bucket in the server."""
    from moto.s3.models import s3_backends

    s3_backends[ACCOUNT][REGIONS].create_bucket(name, REGION)


def delete_bucket(name: str) -> None:
    """Remove a bucket with all its objects."""
    from moto.s3.models import s3_backends

    backend = s3_backends[ACCOUNT][REGIONS]
    for key in [key.name for key in backend.buckets[name].keys.values()]:
        backend.delete_object(name, key)
    backend.delete_bucket(name)


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
