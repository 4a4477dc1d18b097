"""Opens a bucket of S3, Google Cloud Storage or Azure with obstore (`scoreline[remote]`), with the credentials and the
endpoint of the standard environment variables. Independent of what is done with it.
"""

import errno
import os
import re
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import UsageError, one_line
from .uris import SERVICES, Service, UnansweredError

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig


#: Set to 1 to use the credentials of the machine's metadata service.
METADATA_VARIABLE = "SCORELINE_INSTANCE_CREDENTIALS"
#: A service that is overloaded answers 503 for half a minute. The time ends the retries, not their number: pauses are
#: drawn between the first one and `base` times the last one, and with a base of 2 they hardly become longer.
RETRIES: "RetryConfig" = {
    "max_retries": 1000,
    "retry_timeout": timedelta(seconds=120),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 3},
}
#: A request may take long if its answer is large, but not without receiving anything.
TIMEOUTS = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "1h"}
#: The same for a request that only asks whether a service answers at all.
FEW_RETRIES: "RetryConfig" = {
    "max_retries": 1000,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 3},
}
SHORT_TIMEOUTS = {"connect_timeout": "5s", "read_timeout": "10s", "timeout": "10s"}
#: How long to wait for an endpoint that is named by the environment to accept a connection.
ENDPOINT_S = 10.0
#: The variables that name a proxy, without which the endpoint may not be reachable.
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def open_bucket(scheme: str, bucket: str, *, patient: bool = True) -> tuple[Any, "ObjectStore"]:
    """The library, and the store of a bucket.

    Args:
        patient: try requests for two minutes instead of ten seconds.

    Raises:
        UsageError: obstore is not installed.
        OSError: no credentials are set, the endpoint cannot be reached, or variables contradict each other.
    """
    service, uri = SERVICES[scheme], f"{scheme}://{bucket}"
    _require_credentials(service, uri)
    endpoint = next(filter(None, map(os.environ.get, service.endpoints)), "")
    if endpoint:
        _require_endpoint(endpoint, uri)
    return _opened(scheme, bucket, uri, plain=endpoint.startswith("http://"), patient=patient)


def reason_of(error: BaseException) -> str:
    """The text of the service, in one line, without the debug output of the library, and without what its answers
    repeat of the request: URLs and their query strings, which may have signatures."""
    text = one_line(error).partition("Debug source:")[0].strip()
    answers = [re.search(rf"<{name}>(.*?)</{name}>", text) for name in ("Code", "Message")]
    if answers[0] is not None:
        return ": ".join(found[1] for found in answers if found is not None)[:300]
    return re.sub(r"https?://[^\s\"')]*", "…", text.partition("<?xml")[0].strip())[:300]


def _opened(scheme: str, bucket: str, uri: str, *, plain: bool, patient: bool) -> tuple[Any, "ObjectStore"]:
    """The library and the store. Raises OSError if the variables are inconsistent.

    Args:
        plain: whether its endpoint is one without TLS.
        patient: as of `open_bucket`.
    """
    try:
        import obstore  # an extra: only URIs need it
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs obstore; install it with: pip install 'scoreline[remote]'") from error
    options: Any = {**(TIMEOUTS if patient else SHORT_TIMEOUTS), **({"allow_http": True} if plain else {})}
    retries = RETRIES if patient else FEW_RETRIES
    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        return obstore, kinds[scheme](bucket, retry_config=retries, client_options=options)
    except (obstore.exceptions.BaseError, ValueError, OSError) as error:
        raise OSError(errno.EIO, f"{SERVICES[scheme].name} cannot be set up: {reason_of(error)}", uri) from error


def _require_credentials(service: Service, uri: str) -> None:
    if os.environ.get(METADATA_VARIABLE) != "1" and not any(map(os.environ.get, service.credentials)):
        raise PermissionError(
            errno.EACCES,
            f"there are no credentials for {service.name}: set {service.credentials[0]} and what belongs to it, or"
            f" {METADATA_VARIABLE}=1 to use those of this machine's metadata service",
            uri,
        )


def _require_endpoint(endpoint: str, uri: str) -> None:
    """Raise UnansweredError if nothing accepts connections there: requests would be retried for two minutes."""
    if any(map(os.environ.get, PROXIES)):
        return
    try:
        parts = urlsplit(endpoint)
        where = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection(where, timeout=ENDPOINT_S).close()
    except (OSError, ValueError) as error:
        shown = endpoint.rpartition("@")[2].partition("?")[0]
        raise UnansweredError(errno.EIO, f"the endpoint {shown} cannot be reached ({one_line(error)})", uri) from error
