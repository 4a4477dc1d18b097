"""A pool of threads that decode images for all flows, since Pillow releases the GIL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def open_decoders(num_threads: int) -> Iterator[ThreadPoolExecutor | None]:
    """The pool; None for 0 threads."""
    if not num_threads:
        yield None
        return
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decoder")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
