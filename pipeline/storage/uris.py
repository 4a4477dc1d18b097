"""URIs of objects: `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`. Makes no requests, and does not import
obstore.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UsageError


class Service(NamedTuple):
    """A storage service. `credentials`: environment variables of which one must be set: without credentials, libraries
    ask the metadata service of the machine, which may not exist and then takes a minute to fail. `endpoints`: the
    variables that replace its address, the first one that is set."""

    name: str
    credentials: tuple[str, ...]
    endpoints: tuple[str, ...]


#: The services by the scheme of their URIs.
SERVICES: Mapping[str, Service] = {
    "s3": Service(
        "S3",
        ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
         "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE"),
        ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    ),
    "gs": Service(
        "Google Cloud Storage",
        ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH",
         "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN", "GOOGLE_SKIP_SIGNATURE"),
        ("GOOGLE_BASE_URL",),
    ),
    "az": Service(
        "Azure",
        ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY",
         "AZURE_STORAGE_TOKEN", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET",
         "AZURE_SKIP_SIGNATURE"),
        ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    ),
}  # fmt: skip
_URI = re.compile(r"(?P<scheme>[a-z0-9+.-]+)://(?P<bucket>[^/]*)(/(?P<key>.*))?", re.DOTALL)


class UnansweredError(OSError):
    """A service has not answered, or only with errors of its own, for as long as requests are tried."""


class ChangedError(OSError):
    """An object is not, or no longer, the one that was expected: its ETag differs, or it exists already."""


class Location(NamedTuple):
    """The parts of a URI, `s3://bucket/key`. `key`: empty for the whole bucket; ends in `/` where the URI does."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URI of one of the services."""
    scheme, mark, _ = path.partition("://") if isinstance(path, str) else ("", "", "")
    return bool(mark) and scheme in SERVICES


def absolute(path: str) -> str:
    """A path that does not depend on the working directory. A URI is returned unchanged."""
    return path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100 - text


def parse_uri(uri: str) -> Location:
    """The parts of a URI.

    Raises:
        UsageError: it has no bucket, or a key that services treat in different ways.
    """
    match = _URI.fullmatch(uri)
    if match is None or not match["bucket"] or match["scheme"] not in SERVICES:
        raise UsageError(
            f"{uri!r} is not a URI of an object; use s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY"
        )
    key = match["key"] or ""
    steps = key.removesuffix("/").split("/") if key else []
    if any(step in ("", ".", "..") for step in steps):
        raise UsageError(
            f"{uri!r} has an empty step, '.' or '..' in its key, which services treat differently; rename the object"
        )
    return Location(match["scheme"], match["bucket"], key)
