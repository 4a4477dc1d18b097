"""Start and end of a command's process: streams, signals, garbage collector, allocator. Independent of the commands."""

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from ...pipeline.allocator import keep_freed_memory
from . import signals, streams

#: Allocations between two garbage collections. Objects made while torch is imported stay alive, and scanning them again
#: and again takes 0.2 s (measured); Python's default is 700.
GC_THRESHOLD = 1_000_000
_DEFAULT_THRESHOLD = gc.get_threshold()


def tune() -> None:
    """Install the streams and the signal watchdog, and tune the garbage collector for a long import and the allocator
    for few large arrays. Unless the user has set their number, numpy gets no threads of its own for products of
    matrices: they wait for work by running, 0.1 s for each core at every start (measured). torch's compiler
    keeps its advice for those who write models, which it logs in a format of its own."""
    streams.install()
    signals.guard()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_LOGS", "-dynamo,-inductor")
    gc.set_threshold(GC_THRESHOLD)
    keep_freed_memory()


def freeze_imports() -> None:
    """Exclude all existing objects from garbage collection, and restore the default threshold."""
    gc.freeze()
    gc.set_threshold(*_DEFAULT_THRESHOLD)


def leave(code: int) -> NoReturn:
    """End the process at once, without the interpreter's teardown. With torch that takes a quarter of a second
    (measured), in which a signal would turn a finished run into a failed one."""
    atexit._run_exitfuncs()  # of libraries and trusted code
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # trusted code may have closed or replaced it
            stream.flush()
    os._exit(code)
