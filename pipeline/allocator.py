"""The allocators of this process, for few large arrays."""

import ctypes
import os
from contextlib import suppress

#: glibc's mallopt: blocks of up to 32 MiB, its maximum, come from the heap instead of mmap, and up to 1 GiB of free
#: memory stays at its top. Otherwise the kernel would zero the pages of every activation again.
MALLOPT = ((-3, 32 << 20), (-1, 1 << 30))


#: Of mimalloc, by which Arrow allocates; read when Arrow is imported. Otherwise it returns memory ten milliseconds
#: after it was freed, and a block of rows later the kernel zeroes it again: 6% of the CPU time of a run (measured).
_NEVER_RETURNED = ("MIMALLOC_PURGE_DELAY", "-1")


def keep_freed_memory() -> None:
    """Reuse memory that was freed instead of returning it to the system. Affects Arrow only where it is imported
    afterwards, and unless the user has set another delay."""
    os.environ.setdefault(*_NEVER_RETURNED)
    with suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in MALLOPT:
            mallopt(parameter, value)
