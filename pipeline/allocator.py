"""The allocator of this process, for few large arrays."""

import ctypes
from contextlib import suppress

#: glibc's mallopt: blocks of up to 32 MiB, its maximum, come from the heap instead of mmap, and up to 1 GiB of free
#: memory stays at its top. Otherwise the kernel would zero the pages of every activation again.
MALLOPT = ((-3, 32 << 20), (-1, 1 << 30))


def keep_freed_memory() -> None:
    """Reuse memory that was freed instead of returning it to the system."""
    with suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in MALLOPT:
            mallopt(parameter, value)
