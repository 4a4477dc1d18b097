"""The pool of decoding threads: its size, and its end."""

import threading
from time import sleep

import pytest
from scoreline.pipeline.running.decoders import open_decoders


def alive() -> set[str]:
    """The names of the decoding threads that are alive."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("decoder")}


def test_the_number_of_threads() -> None:
    """As many as asked for, all of which end with the pool."""
    together = threading.Barrier(3, timeout=30)
    with open_decoders(3) as pool:
        assert pool is not None
        names = set(pool.map(lambda _: together.wait() >= 0 and threading.current_thread().name, range(3)))
        assert names == alive()
        assert len(names) == 3
        list(pool.map(sleep, [0.001] * 20))
        assert alive() == names
    assert not alive()


def test_no_threads() -> None:
    """There is no pool."""
    with open_decoders(0) as pool:
        assert pool is None


def test_what_has_not_begun_is_cancelled_after_an_error() -> None:
    """What has begun is finished."""
    begun, done = threading.Event(), []

    def decode(number: int) -> None:
        begun.set()
        sleep(0.05)
        done.append(number)

    def fail() -> None:
        with open_decoders(1) as pool:
            assert pool is not None
            for number in range(50):
                pool.submit(decode, number)
            assert begun.wait(30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert 1 <= len(done) < 50
    assert not alive()
