"""The XML API of Google Cloud Storage on the loopback interface, as far as obstore uses it: no emulator has listings of
that API. Objects are in memory; requests must be signed with the key of a service account.

Source: https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from object_storage import SECRET, Service, serving

#: Entries of a page of a listing.
PAGE = 1000
#: What object is meant, and how it must be before it is written.
METADATA, GENERATION, IF_GENERATION = "x-goog-meta-", "x-goog-generation", "x-goog-if-generation-match"
EMAIL = "tests@project.iam.gserviceaccount.com"


class Refused(Exception):  # noqa: N818 - an answer, not an error of the server
    """An answer with an error. Has the status and the code."""


class Stored(NamedTuple):
    """An object. `generation`: of all objects that were ever written, the number of this one; `headers`: its metadata
    and its type."""

    data: bytes
    etag: str
    generation: int
    modified: datetime
    headers: tuple[tuple[str, str], ...]


@dataclass(kw_only=True)
class GoogleStorage:
    """The service as a WSGI application. `is_signed`: whether an Authorization header is valid; `buckets`: the objects
    of each, by key; `uploads`: those in parts, with their headers and the parts so far."""

    is_signed: Callable[[str], bool]
    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    uploads: dict[str, tuple[tuple[tuple[str, str], ...], dict[int, bytes]]] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)
    _generations: Iterator[int] = field(default_factory=lambda: count(1_700_000_000_000_001))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        _, bucket, *key = unquote(environ["REQUEST_URI"].partition("?")[0]).split("/", 2)
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        sent = {name.removeprefix("HTTP_").replace("_", "-").lower(): value for name, value in environ.items()}
        try:
            if not self.is_signed(sent.get("authorization", "")):
                raise Refused("401 Unauthorized", "AuthenticationRequired")
            with self._lock:
                status, headers, answer = self._answer(environ["REQUEST_METHOD"], bucket, key, query, sent, body)
        except Refused as refused:
            status, code = refused.args
            headers, answer = {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode()
        headers.setdefault("Content-Length", str(len(answer)))
        start_response(status, list(headers.items()))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer]

    def _answer(
        self, method: str, bucket: str, key: list[str], query: dict[str, str], sent: dict[str, str], body: bytes
    ) -> tuple[str, dict[str, str], bytes]:
        if bucket not in self.buckets:
            raise Refused("404 Not Found", "NoSuchBucket")
        objects = self.buckets[bucket]
        if not key:
            return "200 OK", {"Content-Type": "application/xml"}, _listing(objects, query)
        if "uploads" in query or "uploadId" in query:
            return self._in_parts(method, objects, key[0], query, sent, body)
        if method == "PUT":
            made = self._store(objects, key[0], body, _metadata(sent), sent.get(IF_GENERATION))
            return "200 OK", _described(made), b""
        if key[0] not in objects:
            raise Refused("404 Not Found", "NoSuchKey")
        if method == "DELETE":
            del objects[key[0]]
            return "204 No Content", {}, b""
        return _read(objects[key[0]], sent)

    def _store(
        self, objects: dict[str, Stored], key: str, data: bytes, headers: tuple[tuple[str, str], ...],
        generation: str | None = None,
    ) -> Stored:  # fmt: skip
        """Write an object. `generation`: the one that it must have, 0 if it must not exist."""
        existing = objects[key].generation if key in objects else 0
        if generation is not None and int(generation) != existing:
            raise Refused("412 Precondition Failed", "PreconditionFailed")
        etag = f'"{md5(data, usedforsecurity=False).hexdigest()}"'
        objects[key] = Stored(data, etag, next(self._generations), datetime.now(UTC), headers)
        return objects[key]

    def _in_parts(
        self, method: str, objects: dict[str, Stored], key: str, query: dict[str, str], sent: dict[str, str],
        body: bytes,
    ) -> tuple[str, dict[str, str], bytes]:  # fmt: skip
        if IF_GENERATION in sent:  # the service ignores it
            raise Refused("400 Bad Request", "InvalidArgument")
        if "uploads" in query:
            name = f"upload-{next(self._generations)}"
            self.uploads[name] = _metadata(sent), {}
            answer = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            return "200 OK", {}, answer.encode()
        headers, parts = self.uploads[query["uploadId"]]
        if method == "PUT":
            parts[int(query["partNumber"])] = body
            return "200 OK", {"ETag": f'"{md5(body, usedforsecurity=False).hexdigest()}"'}, b""
        del self.uploads[query["uploadId"]]
        if method == "DELETE":
            return "204 No Content", {}, b""
        wanted = [int(one.text or "") for one in ElementTree.fromstring(body).iter("PartNumber")]
        made = self._store(objects, key, b"".join(parts[number] for number in wanted), headers)
        answer = f"<CompleteMultipartUploadResult><ETag>{made.etag}</ETag></CompleteMultipartUploadResult>"
        return "200 OK", {GENERATION: str(made.generation)}, answer.encode()


def _metadata(sent: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, sent[name]) for name in sent if name == "content-type" or name.startswith(METADATA))


def _described(stored: Stored) -> dict[str, str]:
    modified = stored.modified.strftime("%a, %d %b %Y %H:%M:%S GMT")
    return {"ETag": stored.etag, GENERATION: str(stored.generation), "Last-Modified": modified, **dict(stored.headers)}


def _read(stored: Stored, sent: dict[str, str]) -> tuple[str, dict[str, str], bytes]:
    """The answer to a GET or a HEAD."""
    if sent.get("if-match", stored.etag) != stored.etag:
        raise Refused("412 Precondition Failed", "PreconditionFailed")
    size, headers = len(stored.data), _described(stored)
    if not sent.get("range"):
        return "200 OK", headers | {"Content-Length": str(size)}, stored.data
    first, _, last = sent["range"].removeprefix("bytes=").partition("-")
    start, stop = (int(first), int(last or size) + 1) if first else (max(0, size - int(last)), size)
    if start >= size:
        raise Refused("416 Requested Range Not Satisfiable", "InvalidRange")
    data = stored.data[start:stop]
    return "206 Partial Content", headers | {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{size}"}, data


def _listing(objects: dict[str, Stored], query: dict[str, str]) -> bytes:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    after = query.get("continuation-token", query.get("start-after", ""))
    found: dict[str, str] = {}
    for key in sorted(objects):
        below, cut, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
        name = f"{prefix}{below}{cut}" if cut else key
        if not key.startswith(prefix) or name <= after or name in found:
            continue
        found[name] = (
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" if cut else _entry(key, objects[key])
        )
    page = dict(list(found.items())[:PAGE])
    more = f"<NextContinuationToken>{escape(max(page))}</NextContinuationToken>" if len(page) < len(found) else ""
    return f"<ListBucketResult>{''.join(page.values())}{more}</ListBucketResult>".encode()


def _entry(key: str, stored: Stored) -> str:
    modified = stored.modified.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return (
        f"<Contents><Key>{escape(key)}</Key><Generation>{stored.generation}</Generation>"
        f"<LastModified>{modified}</LastModified><ETag>{stored.etag}</ETag><Size>{len(stored.data)}</Size></Contents>"
    )


@contextmanager
def google_storage(folder: Path) -> Iterator[Service]:
    """Start the service. `folder`: for the key of the service account."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()

    def is_signed(authorization: str) -> bool:
        """Whether it has a token that is signed with the key: RFC 7515."""
        signed, _, signature = authorization.removeprefix("Bearer ").rpartition(".")
        data = urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        try:
            private.public_key().verify(data, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    app = GoogleStorage(is_signed=is_signed)
    with serving(app) as server:
        account = {"type": "service_account", "private_key_id": SECRET, "private_key": pem, "client_email": EMAIL,
                   "client_id": "1", "token_uri": f"{server.endpoint}/token"}  # fmt: skip
        file = folder / "account.json"
        file.write_text(json.dumps(account))
        environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "GOOGLE_BASE_URL": server.endpoint}
        yield Service(
            server=server, scheme="gs", environment=environment, remove=app.buckets.pop,
            create=lambda name: app.buckets.setdefault(name, {}) and None,
        )  # fmt: skip
