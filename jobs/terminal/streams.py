"""stdout and stderr of a process of ours: writing to them raises nothing, whatever stands at the other end.

A reader that has left wants no more. On a full disk what is written is lost, and `lost` says why, so that the command
can end with an error; nothing inside it, such as a model that prints, fails over it.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from select import select
from typing import Any


class _Descriptor(io.FileIO):
    """A file descriptor whose failures are kept instead of raised."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write some of the data; all of it is dropped where that fails."""
        try:
            while (written := super().write(data)) is None:  # non-blocking, and full
                select([], [self], [])
        except OSError as error:
            self.failure = self.failure or error
            return len(data)
        return written


def install() -> None:
    """Put them in the place of Python's own. A descriptor that is closed becomes /dev/null: else the next file that is
    opened takes its number, and what a library prints is written into that file."""
    while (unused := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest number that is free
        os.set_inheritable(unused, True)
    os.close(unused)
    for name, number in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        with suppress(OSError, ValueError, AttributeError):
            before.flush()
        raw = _Descriptor(number, "wb", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=getattr(before, "encoding", None) or "utf-8",
            errors="backslashreplace",
            line_buffering=number == 2 or raw.isatty(),
        )
        setattr(sys, name, stream)


def lost(stream: Any) -> str | None:
    """Why some of what was written to a stream is lost; None where nothing is, or nobody wants it."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(raw, _Descriptor):
        return None
    stream.flush()
    failure = raw.failure
    return None if failure is None or failure.errno == errno.EPIPE else failure.strerror
