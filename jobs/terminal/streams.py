"""stdout and stderr of a command: writing to them never raises, whatever they are connected to.

If the reader has closed its end, the output is dropped. If the disk is full, the output is lost and `lost` returns the
reason, so that the command can end with an error; code that prints, such as a model, does not fail.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from select import select
from typing import Any


class _Descriptor(io.FileIO):
    """A file descriptor that records failures instead of raising them."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write some of the data; if that fails, drop all of it."""
        try:
            while (written := super().write(data)) is None:  # non-blocking, and full
                select([], [self], [])
        except OSError as error:
            self.failure = self.failure or error
            return len(data)
        return written


def install() -> None:
    """Replace `sys.stdout` and `sys.stderr`. A closed descriptor is opened as /dev/null; otherwise the next file to be
    opened would get its number, and anything printed would be written into that file."""
    while (unused := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest free number
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
    """Why output to a stream was lost; None if none was lost, or if its reader closed the stream."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(raw, _Descriptor):
        return None
    stream.flush()
    failure = raw.failure
    return None if failure is None or failure.errno == errno.EPIPE else failure.strerror
