"""Reads many small objects at once. Imports obstore only if there are some."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from errno import EINVAL
from functools import cache

from ..errors import UsageError
from .ranges import read_whole
from .uris import is_remote

#: Requests at the same time, mostly waiting.
THREADS = 32


def read_objects(uris: Sequence[str]) -> list[bytes | OSError]:
    """The bytes of each object, in order, or why it cannot be read; EINVAL for what is not a URI of an object."""
    return list(_pool().map(_read, uris))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="objects")


def _read(uri: str) -> bytes | OSError:
    if not is_remote(uri):
        return OSError(EINVAL, "only local paths and s3://, gs:// and az:// URIs are supported", uri)
    try:
        return read_whole(uri)
    except OSError as error:
        return error
    except UsageError as error:
        return OSError(EINVAL, str(error), uri)
