"""Writes a file beside an older one and puts it in its place at once. Independent of its content."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError
from .plain_files import kind_of, require_plain
from .temporaries import temporary_name


@contextmanager
def replaced_file(path: Path, what: str) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name at the end of the block. After an error it is removed, and an older file
    is unchanged. Readers see either one whole. The file is not synced to the disk.

    Args:
        what: what the file is, for messages: "the trace".

    Raises:
        StorageError: the file cannot be written, or something that is not a regular file has its name.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        if kind_of(path) != "missing":
            require_plain(path)
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{what} {str(path)!r} cannot be written: {error.strerror or error}; choose another path"
        ) from error
