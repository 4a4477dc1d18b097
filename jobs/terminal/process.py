"""How the process of a command begins and ends. Independent of commands."""

import atexit
import ctypes
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from . import signals, streams

#: Objects that are made before they are looked through for cycles. All that is made while torch is imported stays, and
#: looking through it again and again takes 0.2 s (measured); Python's own number is 700.
GC_THRESHOLD = 1_000_000
_USUAL = gc.get_threshold()
#: glibc's mallopt: blocks up to 32 MiB, the most it takes, come from memory that is kept, and 1 GiB of it may lie idle
#: at its end. Otherwise the kernel would clear the pages of every activation again.
MALLOPT = ((-3, 32 << 20), (-1, 1 << 30))


def tune() -> None:
    """Set up the streams and the end by a signal, the garbage collector for a long import, and the allocator for few
    large arrays."""
    streams.install()
    signals.guard()
    gc.set_threshold(GC_THRESHOLD)
    with suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in MALLOPT:
            mallopt(parameter, value)


def freeze_imports() -> None:
    """Exclude all objects so far from garbage collection, and collect from here on as usual."""
    gc.freeze()
    gc.set_threshold(*_USUAL)


def leave(code: int) -> NoReturn:
    """End the process at once. Taking torch apart costs a quarter of a second (measured), in which a signal would turn
    a finished run into a failed one."""
    atexit._run_exitfuncs()  # what libraries and trusted code have asked for
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # trusted code may have closed or replaced it
            stream.flush()
    os._exit(code)
