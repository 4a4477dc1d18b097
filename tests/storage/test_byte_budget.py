"""A number of bytes that several threads share."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.storage.byte_budget import ByteBudget


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_no_more_are_taken_than_there_are(total: int, sizes: list[int]) -> None:
    """Except by one that wants more than all, alone."""
    budget, lock, held, most = ByteBudget(total), threading.Lock(), [0], [0]

    def take(size: int) -> None:
        with budget.taking(size):
            with lock:
                held[0] += min(size, total)
                most[0] = max(most[0], held[0])
            time.sleep(0.0001)
            with lock:
                held[0] -= min(size, total)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, sizes))
    assert most[0] <= total
    with budget.taking(total):  # all were given back
        pass


def test_a_large_one_is_not_overtaken() -> None:
    """Smaller ones that come later wait for it, though there is room for them."""
    budget, order, threads = ByteBudget(10), list[str](), list[threading.Thread]()

    def take(name: str, size: int) -> None:
        with budget.taking(size):
            order.append(name)

    with budget.taking(5):
        for name, size in (("large", 10), ("small", 1)):
            thread = threading.Thread(target=take, args=(name, size))
            threads.append(thread)
            thread.start()
            time.sleep(0.05)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]


def test_it_is_given_back_after_an_error() -> None:
    """As after any block."""
    budget = ByteBudget(1)
    for _ in range(2):
        try:
            with budget.taking(1):
                raise OSError
        except OSError:
            continue
