"""Writes a file beside an older one and puts it in its place at once. Independent of its content."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError, UsageError
from .plain_files import kind_of, require_plain
from .temporaries import temporary_name
from .uris import is_remote


@contextmanager
def replaced_file(path: Path, what: str) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name at the end of the block. After an error it is removed, and an older file
    is unchanged. Readers see either one whole. The file is not synced to the disk.

    Args:
        what: what the file is, for messages: "the trace".

    Raises:
        StorageError: the file cannot be written, or something that is not a regular file has its name.
    """
    if not path.name:
        raise StorageError(f"{what} {str(path)!r} cannot be written: it is a folder, not a file; choose another path")
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


def refuse_other_file(path: Path, what: str, begins: bytes, output: str | None) -> None:
    """Check that writing a file would not replace something else, such as an input or a part.

    Args:
        begins: how such a file begins.
        output: the output of the run, if it is known.

    Raises:
        UsageError: another file has its name, or it is within the output.
    """
    if (
        output is not None
        and not is_remote(output)
        and Path(os.path.realpath(output)) in Path(os.path.realpath(path)).parents
    ):
        raise UsageError(f"{what} {str(path)!r} is within the output; choose another path")
    beginning = b""
    with suppress(OSError):  # which writing it reports
        if kind_of(path) == "file":
            with path.open("rb") as file:
                beginning = file.read(len(begins))
    if beginning not in (b"", begins):
        raise UsageError(f"{what} {str(path)!r} is another file, which it would replace; choose another path")
