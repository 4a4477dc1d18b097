"""Reads the bytes of a file or an object. Imports obstore only for a URI."""

from pathlib import Path

from .plain_files import read_plain, require_plain
from .uris import UnansweredError, is_remote, parse_uri


def read_range(path: Path | str, start: int, length: int) -> bytes:
    """Some bytes of a regular file, or of the object that a URI names; fewer at its end. Raises OSError."""
    if is_remote(path):
        from .remote import bucket_of

        location = parse_uri(str(path))
        return bucket_of(location).read(location.key, start=start, stop=start + length)
    require_plain(path)
    with Path(path).open("rb") as file:
        file.seek(start)
        return file.read(length)


def read_whole(path: Path | str) -> bytes:
    """The bytes of a regular file, or of the object that a URI names. Raises OSError."""
    if not is_remote(path):
        return read_plain(path)
    from .remote import bucket_of

    location = parse_uri(str(path))
    return bucket_of(location).read(location.key)


def refuse_gone_service(path: Path | str, error: BaseException) -> None:
    """After something could not be read: raise StorageError if that was an object whose service does not answer any
    more. Every other object there would be tried for two minutes, too.

    Args:
        error: why it could not be read; nothing is asked if the service has answered.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnansweredError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and is_remote(path):
        from .remote import require_service

        require_service(str(path))
